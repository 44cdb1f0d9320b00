"""The settings of the site that is in the pictures: the project's, with the shop of ``examples`` on it."""

from __future__ import annotations

from project.settings import *  # noqa: F403  the project as its users run it
from project.settings import DURABLE_OBJECTS, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "shop"]
DURABLE_OBJECTS = DURABLE_OBJECTS | {"DISPATCHED_BY": "command"}
CELERY_BROKER_URL = "memory://"
