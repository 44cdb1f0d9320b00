"""``manage.py alarms``: list, explain, run, move, cancel, revive, pause, drain, resume, from_beat, dispatch, doctor."""

from __future__ import annotations

import contextlib
import shlex
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import FrameType
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import Error

from durable_objects import doctor
from durable_objects.conf import engine
from durable_objects.database import clock, supported
from durable_objects.database.connection import answers_within
from durable_objects.database.messages import message_for
from durable_objects.delivery import dispatcher, heartbeat, publisher, workers
from durable_objects.errors import AlarmHandlerMissing
from durable_objects.escaping import one_line
from durable_objects.formatting import absolute, gist, label, span
from durable_objects.management.base import (
    add_object,
    errors_in_one_line,
    find_kind,
    find_object,
    find_row,
    kind_of,
    moment,
)
from durable_objects.management.bulk import BulkCommand, add_how
from durable_objects.management.from_beat import FromBeatVerb
from durable_objects.management.pauses import PauseVerbs
from durable_objects.management.reasons import reason_of, tell
from durable_objects.management.selecting import add_class, add_state, add_where, selection_of
from durable_objects.operations import actions
from durable_objects.operations.explain import Explanation, explain
from durable_objects.tables import Alarm, Object, Schedule

#: Verbs that change alarms: their help, and the state of the alarms that ``--all`` takes without ``--state``.
VERBS = {
    "run": ("make the alarm due now", "armed"),
    "move": ("set the alarm to another time", "armed"),
    "cancel": ("delete the alarm", "armed"),
    "revive": ("arm a dead alarm again, due now and with all its retries", "dead"),
}
#: How long the doctor waits for a connection to the database.
SECONDS_TO_CONNECT = 10.0


class Command(PauseVerbs, FromBeatVerb, BulkCommand):
    help = "List alarms, explain why one has not run, change or pause them, and send wake-ups for those that are due."
    examples = """examples:
  manage.py alarms list --state dead
  manage.py alarms explain batcher.Batcher orders
  manage.py alarms move batcher.Batcher orders 2031-01-01T00:00:00+00:00
  manage.py alarms move batcher.Batcher orders 15m                 (from now)
  manage.py alarms revive --all --class batcher.Batcher --prefix eu-
  manage.py alarms revive --all --where 'class:shop.Payment error:"card declined"'
  manage.py alarms cancel --all --state overdue --yes
  manage.py alarms pause shop.Cart --reason "new columns" && manage.py alarms drain shop.Cart
  manage.py alarms resume shop.Cart
  manage.py alarms from_beat > shop/models/periodic.py
  manage.py alarms doctor --fix
  manage.py alarms dispatch --loop"""

    def add_arguments(self, parser: CommandParser) -> None:
        """Add a subcommand for each verb."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help="list alarms, the next one first")
        _add_filters(listing, "armed", narrows=False)
        listing.add_argument("--limit", type=int, default=50, help="alarms to list, default 50")
        add_object(
            verbs.add_parser("explain", help="why the alarm ran when it did, or has not run, and what comes next")
        )
        for verb, (text, state) in VERBS.items():
            one = verbs.add_parser(verb, help=f"{text}; with --all, every alarm that matches")
            add_object(one, may_miss=True)
            if verb == "move":
                one.add_argument("when", metavar="WHEN", help="ISO time with its offset, or from now: 15m, 1h30m")
            one.add_argument("--all", action="store_true", help="every alarm that matches, instead of KIND NAME")
            add_how(one)
            _add_filters(one, state)
        self.add_pause_verbs(verbs)
        self.add_from_beat_verb(verbs)
        passes = verbs.add_parser(
            "dispatch", help="one pass: send wake-ups for alarms that are due soon, and lost ones again"
        )
        passes.add_argument("--loop", action="store_true", help="pass after pass, until SIGINT or SIGTERM")
        asked = verbs.add_parser(
            "doctor", help="find what is wrong, and say what to do; exits with 1 if there is trouble"
        )
        asked.add_argument("--fix", action="store_true", help="repair what it can")
        for subparser in verbs.choices.values():
            subparser.add_argument("--json", action="store_true", help="print JSON, one value per line")

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the verb. The doctor asks the checks itself, as one question of many: none of their errors ends it."""
        if options.get("verb") == "doctor":
            options["skip_checks"] = True
        return super().execute(*args, **options)

    def _list(self, options: dict[str, Any]) -> None:
        selection = selection_of(options)
        rows = selection.alarms(clock.now()).select_related("object__kind").order_by(*selection.ordering)
        rows_shown = ((_figures(row), _columns(row)) for row in rows[: options["limit"]])
        self.say_table(options, ("DUE", "CLASS", "NAME", "RETRIES", "LAST ERROR"), rows_shown)

    def _explain(self, options: dict[str, Any]) -> None:
        row = find_row(options)
        found = explain(row, clock.now(), ask=workers.flaws_of)
        figures = {"kind": kind_of(row), "name": row.name, **found.as_dict()}
        self.say(options, figures, "\n".join(lines(f"{kind_of(row)} {label(row.name)}", found)))

    def _run(self, options: dict[str, Any]) -> None:
        def run(obj: Object) -> bool:
            slot = Alarm.objects.filter(object__kind=find_kind(options["kind"]), object__name=obj.name).first()
            actions.fire_now(obj)
            return actions.time_of(slot) is not None

        def ran(obj: Object, was_set: bool) -> tuple[dict[str, Any], str]:
            return {"run": True}, "due now" if was_set else f"due now: alarm(){_schedules_instead(options)}"

        self._operate(options, run, ran)

    def _move(self, options: dict[str, Any]) -> None:
        when = moment(options["when"])

        def moved(obj: Object, done: object) -> tuple[dict[str, Any], str]:
            at = actions.handle_of(obj).storage.get_alarm()
            return {"alarm": at and at.isoformat()}, f"set to {at}"

        self._operate(options, lambda obj: actions.move(obj, when), moved)

    def _cancel(self, options: dict[str, Any]) -> None:
        reason = reason_of(options)

        def cancelled(obj: Object, done: bool) -> tuple[dict[str, Any], str]:
            if done:
                tell("Alarm cancelled", obj, reason)
            return {"cancelled": done}, "cancelled" if done else "there was no alarm"

        self._operate(options, actions.cancel, cancelled)

    def _revive(self, options: dict[str, Any]) -> None:
        self._operate(options, actions.revive, lambda obj, done: ({"revived": True}, "revived, due now"))

    def _operate(
        self,
        options: dict[str, Any],
        verb: Callable[[Object], object],
        answer: Callable[[Object, Any], tuple[dict[str, Any], str]],
    ) -> None:
        if options["all"] == (options["name"] is not None):
            raise CommandError(
                "name one by KIND and NAME, or take all that match by --all (with --where, --class, --prefix, --state)"
            )
        if options["all"]:
            to = {"to": _at(options["when"])} if options["verb"] == "move" else {}
            self.do_to_all(options, options["verb"], selection_of(options), **to)
            return
        obj = find_object(options)
        try:
            with errors_in_one_line():
                figures, text = answer(obj, verb(obj))
        except AlarmHandlerMissing as error:
            raise CommandError(f"{error}{_schedules_instead(options)}") from error
        self.say(options, figures, text)

    def _dispatch(self, options: dict[str, Any]) -> None:
        if not options["loop"]:
            made = dispatcher.run_pass().as_dict()
            self.say(options, made, ", ".join(f"{name} {figure}" for name, figure in made.items()))
            if publisher.is_broken():
                raise CommandError("the broker takes no wake-ups: `manage.py alarms doctor` shows why")
            return
        stopped = threading.Event()

        def stop(number: int, frame: FrameType | None) -> None:
            stopped.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        self.outlive_streams()
        if not options["json"]:
            self.stdout.write(
                f"A pass every {span(engine.DISPATCH_EVERY)}, shown if it did something. Ctrl-C stops it."
            )
        heartbeat.begin()
        failures = 0
        while not stopped.is_set():
            failures = self._pass_again(options, failures)
            stopped.wait(dispatcher.pause_after(failures).total_seconds())
        heartbeat.end()
        if not options["json"]:
            self.stdout.write("Stopped.")

    def _pass_again(self, options: dict[str, Any], failures: int) -> int:
        """Make one pass of the loop; return how many have failed in a row. Report whatever it raises, and go on: the
        next one may succeed.
        """
        try:
            made = dispatcher.catch_up(engine.DISPATCH_EVERY).as_dict()
            if any(made.values()):
                self.say(options, made, ", ".join(f"{name} {figure}" for name, figure in made.items()))
            return 0
        except Exception as error:  # noqa: BLE001  whatever it was, alarms wait for the next pass
            text = message_for(error) if isinstance(error, Error) else "".join(traceback.format_exception(error))
            self.stderr.write(f"the pass failed, tried again in {span(dispatcher.pause_after(failures + 1))}: {text}")
            with contextlib.suppress(Exception):
                clock.connection().close()
            return failures + 1

    def _doctor(self, options: dict[str, Any]) -> None:
        found = self._examine()
        if options["fix"]:
            fixed = [(finding.code, finding.fix()) for finding in found if finding.fix is not None]
            for code, done in fixed:
                self.say(options, {"code": code, "fixed": done}, f"fixed    {done}")
            found = self._examine()
        for finding in found:
            word = "TROUBLE" if finding.is_trouble else "notice "
            self.say(
                options, finding.as_dict(), f"{word}  {one_line(finding.text)}\n         {one_line(finding.advice)}"
            )
        troubles = sum(finding.is_trouble for finding in found)
        if troubles:
            raise CommandError(f"troubles found: {troubles}")
        self.say(options, {"ok": True}, "No trouble.")

    def _examine(self) -> list[doctor.Finding]:
        if engine.flaw() or supported.unfit(engine.DATABASE):
            return doctor.examine_settings()
        if not answers_within(SECONDS_TO_CONNECT):
            raise CommandError(
                f"The database {engine.DATABASE!r} has taken the connection, or lost it, and not answered for "
                f"{SECONDS_TO_CONNECT:g} s. Are host and port in DATABASES right, and is the server well? OPTIONS = "
                '{"connect_timeout": 5} there keeps every process from waiting for longer.'
            )
        return doctor.examine(clock.now())


def _at(when: str) -> str:
    """Return the time that is meant, as ISO text."""
    at = moment(when)
    return (clock.now() + at if isinstance(at, timedelta) else at).isoformat()


def lines(title: str, found: Explanation) -> Iterator[str]:
    """Yield an explanation as lines of text."""
    yield f"{title}: {found.status.word}. {one_line(found.status.sentence)}"
    yield from (f"  why   {one_line(sentence)}" for sentence in found.why)
    yield from (f"  next  {one_line(sentence)}" for sentence in found.next)
    if found.run is not None:
        error = f", {gist(found.run.error)}" if found.run.error else ""
        yield f"last run: {found.run.outcome}, retry {found.run.retry_count}{error}"
        for step in found.steps:
            took = f"  +{span(step.took)} {step.share}" if step.took is not None else f"  {step.share}"
            yield f"  {step.what:<10}{absolute(step.at, 'milliseconds')}{took}".rstrip()


def _add_filters(parser: CommandParser, state: str, *, narrows: bool = True) -> None:
    add_where(parser, "alarms")
    add_state(parser, "alarms", state, narrows=narrows)
    add_class(parser, "alarms")


def _figures(row: Alarm) -> dict[str, Any]:
    return {
        "kind": kind_of(row.object),
        "name": row.object.name,
        "state": row.state,
        "scheduled_at": row.scheduled_at and row.scheduled_at.isoformat(),
        "due_at": row.due_at and row.due_at.isoformat(),
        "wake_at": row.wake_at and row.wake_at.isoformat(),
        "retry_count": row.retry_count,
        "error": gist(row.last_error),
    }


def _schedules_instead(options: dict[str, Any]) -> str:
    """Say how a schedule is run of an object that had no alarm; empty where it has none of these either."""
    rows = Schedule.objects.filter(object__kind=find_kind(options["kind"]), object__name=options["name"])
    first = rows.order_by("name").first()
    if first is None:
        return ""
    names = " ".join([options["kind"], *map(shlex.quote, (options["name"], first.name))])
    return f". It has schedules: `manage.py schedules run {names}` runs one now"


def _columns(row: Alarm) -> tuple[str, ...]:
    at = row.wake_at.isoformat() if row.wake_at else row.state
    return at, kind_of(row.object), label(row.object.name), str(row.retry_count), gist(row.last_error)
