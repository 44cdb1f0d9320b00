"""The project's Celery app for a worker that says by a file that it is ready: its log says warnings only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery.signals import worker_ready

from project.celery import app

__all__ = ["app"]


@worker_ready.connect
def _say_so(**kwargs: Any) -> None:
    Path(os.environ["READY_FILE"]).touch()
