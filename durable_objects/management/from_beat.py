"""The verb of ``manage.py alarms`` that writes beat's periodic tasks as schedules of an object."""

from __future__ import annotations

import keyword
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import CommandError

from durable_objects.database import clock
from durable_objects.delivery import beat
from durable_objects.management.base import VerbCommand
from durable_objects.operations import beat_code, beat_rows
from durable_objects.operations.beat_rows import Carried


class FromBeatVerb(VerbCommand):
    """``from_beat``."""

    def add_from_beat_verb(self, verbs: Any) -> None:
        """Add its subcommand."""
        writing = verbs.add_parser(
            "from_beat", help="write django-celery-beat's periodic tasks as schedules in Python; changes nothing"
        )
        writing.add_argument(
            "--name", dest="class_name", default="PeriodicTasks", metavar="CLASS", help="default: PeriodicTasks"
        )

    def _from_beat(self, options: dict[str, Any]) -> None:
        name = options["class_name"]
        if not name.isidentifier() or keyword.iskeyword(name):
            raise CommandError(f"{name!r} is no name for a class")
        if not beat.is_installed():
            raise CommandError("django_celery_beat is not among INSTALLED_APPS: there are no periodic tasks to read")
        rows = beat_rows.read(clock.now())
        if not options["json"]:
            self.stdout.write(beat_code.class_text(rows, name).rstrip("\n"))
            return
        for row in rows:
            self.say(options, _figures(row), "")


def _figures(row: Carried) -> dict[str, Any]:
    times = {name: _figure(value) for name, value in row.times.items()}
    method = beat_code.method_name(row.task)
    return {
        "name": row.name,
        "task": row.task,
        "set": bool(row.times),
        "method": method,
        "times": times,
        "args": row.args,
        "kwargs": row.kwargs,
        "notes": row.notes,
    }


def _figure(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.total_seconds() if isinstance(value, timedelta) else value
