"""Raw Celery as a peer: the same broker, queues, confirms and pool as ours, and tasks that do nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_ready

from durable_objects import celery_settings

app = Celery("peer")
_own = {"CELERY_TASK_DEFAULT_QUEUE": "alarms", "CELERY_TIMEZONE": "UTC"}
for _name, _value in (_own | celery_settings(os.environ["CELERY_BROKER_URL"], _own)).items():
    app.conf[_name.removeprefix("CELERY_").lower()] = _value
app.conf.task_routes = app.conf.beat_schedule = {}


@app.task(ignore_result=True)
def noop() -> None:
    """Nothing."""


@app.task(ignore_result=True)
def stamp(due: float) -> None:
    """Write down by how much this starts after it was due."""
    late = time.time() - due
    with Path(os.environ["STAMPS"]).open("a") as file:
        file.write(f"{late!r}\n")


@worker_ready.connect
def _say_so(**kwargs: Any) -> None:
    Path(os.environ["READY_FILE"]).touch()
