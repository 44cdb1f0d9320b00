"""The settings of processes that ``tests.support.site_processes`` starts: the project's, with the tests' own classes.

ENGINE and BATCHER are JSON objects of ``DURABLE_OBJECTS`` and ``BATCHER`` keys; times are seconds: ``{"LEASE": 10}``.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta

from project.settings import *  # noqa: F403  the project as its users run it
from project.settings import BATCHER, DURABLE_OBJECTS, INSTALLED_APPS, LOGGING

_TIMES = {"LEASE", "LOCK_TIMEOUT", "HORIZON", "DISPATCH_EVERY", "HISTORY_FOR", "WINDOW", "GIVE_UP_AFTER", "TIMEOUT"}


def _given(name: str) -> dict[str, object]:
    values = json.loads(os.environ.get(name) or "{}")
    return {key: timedelta(seconds=value) if key in _TIMES else value for key, value in values.items()}


INSTALLED_APPS = [*INSTALLED_APPS, "tests"]
DURABLE_OBJECTS = DURABLE_OBJECTS | _given("ENGINE")
BATCHER = BATCHER | _given("BATCHER")
LOGGING = LOGGING | {"root": {"handlers": ["console"], "level": "INFO"}}
