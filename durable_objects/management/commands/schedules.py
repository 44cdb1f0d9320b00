"""``manage.py schedules``: list, show, preview, run, revive and cancel the named schedules of objects."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import QuerySet

from durable_objects.database import clock
from durable_objects.escaping import one_line
from durable_objects.formatting import absolute, gist, label
from durable_objects.management.base import (
    ManyLines,
    VerbCommand,
    add_object,
    confirm,
    find_row,
    kind_of,
    moment,
    paged,
)
from durable_objects.management.reasons import add_reason, reason_of, tell
from durable_objects.management.selecting import add_class, add_where, selection_of
from durable_objects.operations import actions
from durable_objects.operations.schedules import SEARCHED_BY, STATES, matching, schedules_in
from durable_objects.recurrence import misfire
from durable_objects.recurrence.rules import Rule
from durable_objects.schedules import ScheduleInfo, info_of
from durable_objects.tables import Object, Schedule

#: Verbs that change one schedule: their help, what they call, what there was none of.
VERBS: dict[str, tuple[str, Callable[[Object, str], bool], str]] = {
    "run": ("make it due now: one run more, or at once what is retried", actions.run_schedule_now, "armed schedule"),
    "revive": ("run its dead occurrence again, with all its retries", actions.revive_schedule, "dead occurrence"),
    "cancel": ("delete it", actions.cancel_schedule, "schedule"),
}
FAILURES_SHOWN = 20


class Command(VerbCommand):
    help = "List the named schedules of objects, show when one runs, and run, revive or cancel it."
    examples = """examples:
  manage.py schedules list --class shop.Shelf
  manage.py schedules list --where 'name:eu-* error:"no stock"'
  manage.py schedules show shop.Shelf main order
  manage.py schedules preview shop.Shelf main order --down 2031-01-01T00:00+00:00 2031-01-02T00:00+00:00
  manage.py schedules run shop.Shelf main order
  manage.py schedules revive --all --class shop.Shelf --yes"""

    def add_arguments(self, parser: CommandParser) -> None:
        """Add a subcommand for each verb."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help="list schedules, the next one first")
        listing.add_argument("--state", choices=list(STATES), default="armed", help="default: armed")
        _add_filters(listing)
        listing.add_argument("--limit", type=int, default=50, help="schedules to list, default 50")
        for verb, text in (("show", "its times, its arguments, its last error"), ("preview", "its next times")):
            one = verbs.add_parser(verb, help=text)
            _add_schedule(one)
            one.add_argument("-n", type=int, default=5, help="times to show, default 5")
            if verb == "preview":
                one.add_argument(
                    "--down",
                    nargs=2,
                    metavar=("FROM", "TO"),
                    help="what an outage between these times would run and skip",
                )
        for verb, (text, _, _) in VERBS.items():
            one = verbs.add_parser(verb, help=text)
            _add_schedule(one, may_miss=verb == "revive")
            if verb == "revive":
                one.add_argument("--all", action="store_true", help="every one with a dead occurrence that matches")
                one.add_argument("--yes", action="store_true", help="do not ask for confirmation")
                _add_filters(one)
            if verb == "cancel":
                add_reason(one)
        for subparser in verbs.choices.values():
            subparser.add_argument("--json", action="store_true", help="print JSON, one value per line")

    def _list(self, options: dict[str, Any]) -> None:
        rows = _matching(options, options["state"]).select_related("object__kind").order_by("due_at", "pk")
        shown = ((_figures(row), _columns(row)) for row in rows[: options["limit"]])
        self.say_table(options, ("DUE", "CLASS", "NAME", "SCHEDULE", "WHEN", "RETRIES", "LAST ERROR"), shown)

    def _show(self, options: dict[str, Any]) -> None:
        row = _find(options)
        info = info_of(row)
        figures = _figures(row) | {
            "args": info.args, "kwargs": info.kwargs, "misfire": info.misfire,
            "grace": info.grace and info.grace.total_seconds(), "declared": info.declared,
            "times": [at.isoformat() for at in info.times(options["n"])],
        }  # fmt: skip
        self.say(options, figures, "\n".join(_lines(row, info, options["n"])))

    def _preview(self, options: dict[str, Any]) -> None:
        row = _find(options)
        down = options["down"] and tuple(_moment(text) for text in options["down"])
        info = info_of(row)
        shown = misfire.preview(info.rule, info.misfire, info.grace, clock.now(), options["n"], down=down)
        figures: dict[str, Any] = {"times": [at.isoformat() for at in shown.times]}
        lines = [absolute(at) for at in shown.times]
        if down:
            figures |= {"runs": [at.isoformat() for at in shown.runs], "skipped": shown.skipped, "text": shown.text}
            lines.append(f"After that outage: {shown.text}")
        self.say(options, figures, "\n".join(lines))

    def _run(self, options: dict[str, Any]) -> None:
        self._change(options)

    def _cancel(self, options: dict[str, Any]) -> None:
        reason = reason_of(options)
        row = self._change(options)
        tell(f"Schedule {row.name!r} cancelled", row.object, reason)

    def _revive(self, options: dict[str, Any]) -> None:
        if options["all"] == (options["schedule"] is not None):
            raise CommandError("name one by KIND, NAME and SCHEDULE, or take all that match by --all")
        if not options["all"]:
            self._change(options)
            return
        rows = _matching(options, "dead")
        found = rows.count()
        if found:
            confirm(options, f"revive {found:,} dead occurrences?", f"{found:,} found: add --yes to revive them")
        done, failed = 0, []
        with self.progress(found, "revive") as bar:
            for row in paged(rows.select_related("object")):
                try:
                    done += actions.revive_schedule(row.object, row.name)
                except Exception as error:  # noqa: BLE001  an object's own initialize() may raise anything
                    failed.append(f"{label(row.object.name)} {label(row.name)}: {error}")
                bar.update(1)
        self.say(options, {"done": done, "failed": len(failed), "failures": failed[:FAILURES_SHOWN]}, f"{done} done")
        if failed:
            raise ManyLines(f"{len(failed)} failed:", *failed[:FAILURES_SHOWN])

    def _change(self, options: dict[str, Any]) -> Schedule:
        verb = options["verb"]
        _, change, what = VERBS[verb]
        row = _find(options)
        if not change(row.object, row.name):
            raise CommandError(f"{label(row.object.name)} has no {what} {row.name!r}: nothing was done")
        self.say(options, {"done": verb}, {"run": "due now", "revive": "revived, due now", "cancel": "cancelled"}[verb])
        return row


def _add_schedule(parser: CommandParser, *, may_miss: bool = False) -> None:
    add_object(parser, may_miss=may_miss)
    parser.add_argument("schedule", nargs="?" if may_miss else None, metavar="SCHEDULE", help="the schedule's name")


def _add_filters(parser: CommandParser) -> None:
    add_where(parser, "schedules", example='name:eu-* error:"no stock"')
    add_class(parser, "schedules")


def _matching(options: dict[str, Any], state: str) -> QuerySet[Schedule]:
    selection = selection_of(options | {"state": None})
    if unknown := [name for name, _ in selection.given if name not in SEARCHED_BY]:
        raise CommandError(f"schedules cannot be chosen by {unknown[0]} Allowed: {' '.join(SEARCHED_BY)}")
    return schedules_in(state, clock.now()).filter(matching(selection))


def _find(options: dict[str, Any]) -> Schedule:
    obj = find_row(options)
    row = Schedule.objects.filter(object=obj, name=options["schedule"]).select_related("object").first()
    if row is None:
        names = [
            label(name)
            for name in Schedule.objects.filter(object=obj).order_by("name").values_list("name", flat=True)[:10]
        ]
        known = f"it has {', '.join(names)}" if names else "it has none"
        raise CommandError(f"{label(obj.name)} has no schedule {options['schedule']!r}: {known}")
    return row


def _moment(text: str) -> datetime:
    when = moment(text)
    return when if isinstance(when, datetime) else clock.now() + when


def _figures(row: Schedule) -> dict[str, Any]:
    return {
        "kind": kind_of(row.object), "name": row.object.name, "schedule": row.name, "method": row.method,
        "when": Rule.from_text(row.rule).describe(), "state": row.state,
        "due_at": row.due_at and row.due_at.isoformat(), "next_at": row.scheduled_at and row.scheduled_at.isoformat(),
        "retry_count": row.retry_count, "last_error": row.last_error,
        "died_at": row.died_at and row.died_at.isoformat(),
    }  # fmt: skip


def _columns(row: Schedule) -> tuple[str, ...]:
    due = row.due_at.isoformat() if row.due_at else row.state
    when = Rule.from_text(row.rule).describe()
    return (
        due,
        kind_of(row.object),
        label(row.object.name),
        label(row.name),
        when,
        str(row.retry_count),
        gist(row.last_error),
    )


def _lines(row: Schedule, info: ScheduleInfo, n: int) -> list[str]:
    given = [repr(value) for value in info.args] + [f"{name}={value!r}" for name, value in info.kwargs.items()]
    grace = "" if info.grace is None else f", not later than {info.grace}"
    found = [
        f"{kind_of(row.object)} {label(row.object.name)}, schedule {label(row.name)}: {info.state}",
        f"  calls   {info.method}({', '.join(given)})",
        f"  when    {info.rule.describe()}; missed times: {info.misfire}{grace}",
        *(f"  next    {absolute(at)}" for at in info.times(n)),
    ]
    if info.retry_count:
        found.append(f"  retry   {info.retry_count}, due {absolute(info.due_at) if info.due_at else 'never'}")
    if info.died_at:
        found.append(f"  dead    the occurrence of {absolute(info.died_at)}")
    if info.last_error:
        found.append(f"  error   {gist(info.last_error)}")
    return [one_line(line) for line in found]
