"""``manage.py alarms``: list, run, move, cancel, revive, dispatch."""

from __future__ import annotations

import json
import signal
import threading
from datetime import datetime, timedelta
from types import FrameType
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error

from durable_objects import DurableObjectError, clock, dispatch, operate
from durable_objects.conf import engine
from durable_objects.models import DurableObject
from durable_objects.rows import Alarm

EXAMPLES = """examples:
  manage.py alarms list --state dead
  manage.py alarms move batcher.Batcher orders 2031-01-01T00:00:00+00:00
  manage.py alarms move batcher.Batcher orders 90          (seconds from now)
  manage.py alarms dispatch --loop"""


class Command(BaseCommand):
    help = "Look at alarms, move them, and ring for those that are due."

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        """The parser, with examples below the options."""
        parser = super().create_parser(*args, **kwargs)
        parser.epilog = EXAMPLES
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """One subcommand for each verb."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help="alarms, the next one first")
        listing.add_argument("--state", choices=["armed", "dead", "overdue"], default="armed")
        listing.add_argument("--limit", type=int, default=50)
        for verb, text in (
            ("run", "let the alarm run now"),
            ("move", "set the alarm to another time"),
            ("cancel", "take the alarm away"),
            ("revive", "let a dead alarm run again"),
        ):
            one = verbs.add_parser(verb, help=text)
            one.add_argument("kind", help="app_label.ClassName")
            one.add_argument("name")
            if verb == "move":
                one.add_argument("when", help="ISO time with its offset, or seconds from now")
        passes = verbs.add_parser("dispatch", help="ring for what is due soon or got lost: one pass")
        passes.add_argument("--loop", action="store_true", help="pass after pass, until SIGINT or SIGTERM")
        for subparser in verbs.choices.values():
            subparser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the verb. Errors of the engine are told in a line."""
        try:
            getattr(self, f"_{options['verb']}")(options)
        except DurableObjectError as error:
            raise CommandError(str(error)) from error

    def _list(self, options: dict[str, Any]) -> None:
        now = clock.now()
        rows = Alarm.objects.using(engine.DATABASE).select_related("object__kind")
        if options["state"] == "dead":
            rows = rows.filter(state=Alarm.State.DEAD).order_by("-scheduled_at")
        else:
            rows = rows.filter(state=Alarm.State.ARMED).order_by("due_at")
        if options["state"] == "overdue":
            rows = rows.filter(due_at__lt=now)
        for row in rows[: options["limit"]]:
            kind = f"{row.object.kind.app_label}.{row.object.kind.model}"
            figures = {
                "kind": kind,
                "name": row.object.name,
                "state": row.state,
                "scheduled_at": row.scheduled_at and row.scheduled_at.isoformat(),
                "due_at": row.due_at and row.due_at.isoformat(),
                "retry_count": row.retry_count,
                "error": row.last_error.strip().rpartition("\n")[2],
            }
            text = f"{figures['due_at'] or row.state}  {kind} {row.object.name!r}  retries {row.retry_count}"
            self._say(options, figures, f"{text}  {figures['error']}".rstrip())

    def _run(self, options: dict[str, Any]) -> None:
        operate.fire_now(_find(options))
        self._say(options, {"run": True}, "due now")

    def _move(self, options: dict[str, Any]) -> None:
        obj = _find(options)
        operate.move(obj, _moment(options["when"]))
        at = obj.storage.get_alarm()
        self._say(options, {"alarm": at and at.isoformat()}, f"set to {at}")

    def _cancel(self, options: dict[str, Any]) -> None:
        was_set = operate.cancel(_find(options))
        self._say(options, {"cancelled": was_set}, "cancelled" if was_set else "nothing was set")

    def _revive(self, options: dict[str, Any]) -> None:
        operate.revive(_find(options))
        self._say(options, {"revived": True}, "revived, due now")

    def _dispatch(self, options: dict[str, Any]) -> None:
        if not options["loop"]:
            figures = dispatch.run_pass().as_dict()
            self._say(options, figures, ", ".join(f"{name} {figure}" for name, figure in figures.items()))
            return
        stopped = threading.Event()

        def stop(number: int, frame: FrameType | None) -> None:
            stopped.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        while not stopped.is_set():
            try:
                figures = dispatch.run_pass().as_dict()
                if any(figures.values()):
                    self._say(options, figures, ", ".join(f"{name} {figure}" for name, figure in figures.items()))
            except Error as error:
                self.stderr.write(f"the database is in trouble, tried again: {error!r}")
                clock.connection().close()
            stopped.wait(engine.DISPATCH_EVERY.total_seconds())

    def _say(self, options: dict[str, Any], figures: dict[str, Any], text: str) -> None:
        self.stdout.write(json.dumps(figures) if options["json"] else text)


def _find(options: dict[str, Any]) -> DurableObject:
    try:
        model = apps.get_model(options["kind"])
    except (LookupError, ValueError) as error:
        raise CommandError(f"no class {options['kind']!r}: {error}") from error
    if not issubclass(model, DurableObject):
        raise CommandError(f"{options['kind']} is not a durable object")
    return model.by_name(options["name"])


def _moment(text: str) -> datetime | timedelta:
    try:
        return timedelta(seconds=float(text)) if text.replace(".", "", 1).isdigit() else datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise CommandError(f"{text!r} is neither an ISO time nor a number of seconds: {error}") from error
