"""The settings of the processes here: those of any test's site, on a broker that loses or doubles what it is told to.

DELIVER says how often each message of ``fire_alarm`` that this process sends arrives: "0", "1" (default), "2", or
"second" (the first one for each object is lost, later ones arrive). LOST_AFTER shortens, in seconds, the wait after
which a wake-up counts as lost.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from kombu import Producer

from durable_objects.alarms import backoff
from tests.site_settings import *  # noqa: F403  the project with the tests' own object classes
from tests.site_settings import INSTALLED_APPS

# CHAOS_UNKNOWN: a process from before the deploy, whose code does not have the tests' object classes.
_APPS = [app for app in INSTALLED_APPS if app != "tests" or not os.environ.get("CHAOS_UNKNOWN")]
INSTALLED_APPS = [*_APPS, "tests.chaos.storm.app.Hooks"]

if _lost_after := os.environ.get("LOST_AFTER"):
    setattr(backoff, "LOST_AFTER", timedelta(seconds=float(_lost_after)))
    setattr(backoff, "LOST_AFTER_AT_MOST", timedelta(seconds=2 * float(_lost_after)))

_DELIVER = os.environ.get("DELIVER") or "1"
_told: set[int] = set()
_publish = Producer.publish


def _deliver(self: Any, body: Any, *args: Any, **options: Any) -> Any:
    if (options.get("headers") or {}).get("task") != "durable_objects.fire_alarm":
        return _publish(self, body, *args, **options)
    object_id = body[0][0]
    times = int(_DELIVER) if _DELIVER != "second" else int(object_id in _told)
    _told.add(object_id)
    return [_publish(self, body, *args, **options) for _ in range(times)]


if _DELIVER != "1":
    setattr(Producer, "publish", _deliver)
