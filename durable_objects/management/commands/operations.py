"""``manage.py operations``: start, list, show, stop and resume what is done to everything that matches."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from durable_objects import durations
from durable_objects.database import clock
from durable_objects.formatting import absolute, relative, span
from durable_objects.management.base import confirm, find_kind
from durable_objects.management.bulk import BulkCommand, add_how
from durable_objects.management.pauses import user
from durable_objects.management.selecting import add_where, selection_of
from durable_objects.operations import bulk, bulk_verbs, outage
from durable_objects.tables import Operation


class Command(BulkCommand):
    help = "Do a verb to everything that matches, and see, stop and go on with what is under way."
    examples = """examples:
  manage.py operations start revive --where 'class:shop.Payment state:dead'
  manage.py operations start spread --where 'due>2031-01-01T03:00Z due<2031-01-01T03:01Z' --over 30m
  manage.py operations start discard --where 'state:dead error:"card expired"' --reason "cards of 2030"
  manage.py operations list
  manage.py operations stop 12 && manage.py operations resume 12"""

    def add_arguments(self, parser: CommandParser) -> None:
        """Add a subcommand for each verb."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        starting = verbs.add_parser("start", help="do a verb to everything that matches, and wait for its end")
        starting.add_argument("what", metavar="VERB", choices=[verb.name for verb in bulk_verbs.every()], help=_verbs())
        add_where(starting, "objects")
        for name, text in _arguments().items():
            starting.add_argument(f"--{name}", help=text)
        add_how(starting)
        verbs.add_parser("list", help="list operations, the last one first").add_argument(
            "--limit", type=int, default=20, help="operations to list, default 20"
        )
        verbs.add_parser("late", help="what is overdue, by class and age: what an outage has left")
        draining = verbs.add_parser("drain", help="run what is overdue class by class, at a rate, after an outage")
        draining.add_argument("kinds", nargs="+", metavar="KIND", help="app_label.ClassName; in the order given")
        draining.add_argument("--skip", metavar="SPAN", help="cancel what is late by more than this: 1d, 6h")
        draining.add_argument(
            "--mark", metavar="SPAN", help="of what is late by more than this and runs, log how late it is"
        )
        add_how(draining)
        for verb, text in {
            "show": "how one stands, with its failures",
            "stop": "stop one after the chunk that is under way",
            "resume": "go on with one that was stopped, and wait for its end",
        }.items():
            verbs.add_parser(verb, help=text).add_argument("id", type=int, metavar="ID", help="its number in the list")
        for subparser in verbs.choices.values():
            subparser.add_argument("--json", action="store_true", help="print JSON, one value per line")

    def _start(self, options: dict[str, Any]) -> None:
        verb = bulk_verbs.get(options["what"])
        if not options["where"] and not options["prefix"]:
            raise CommandError("say what it is done to: --where SELECTION, or --prefix")
        given = {name: options[name] for name in _arguments() if options[name] is not None}
        self.do_to_all(options, verb.name, selection_of(options), **given)

    def _late(self, options: dict[str, Any]) -> None:
        ages = [f"<{durations.write(age)}" for age in outage.AGES] + [f">{durations.write(outage.AGES[-1])}"]
        now = clock.now()
        rows = [(_late_figures(late, ages), _late_columns(late, now)) for late in outage.pile(now)]
        if not rows and not options["json"]:
            self.stdout.write("Nothing is overdue.")
        elif rows:
            self.say_table(options, ("CLASS", "LATE", *ages, "OLDEST"), rows)

    def _drain(self, options: dict[str, Any]) -> None:
        if options["rate"] is None:
            raise CommandError("say how fast: --rate, alarms a second")
        order = [find_kind(label) for label in options["kinds"]]
        skip, mark = (durations.parse(options[name]) if options[name] else None for name in ("skip", "mark"))
        chosen = {kind.pk for kind in order}
        number = sum(late.number for late in outage.pile(clock.now()) if late.kind_id in chosen)
        asked = f"{number:,} overdue alarms"
        confirm(options, f"pause these classes, and drain {asked}?", f"{asked} found: add --yes to drain them")
        plan = outage.drain(order, options["rate"], by=user(), reason=options["reason"], skip=skip, mark=mark)
        followed = set[int]()
        while rest := [each for each in outage.operations_of(bulk.get(plan[0].pk)) if each.pk not in followed]:
            followed.add(rest[0].pk)  # the last one may have another one follow it
            self.follow(options, rest[0])

    def _list(self, options: dict[str, Any]) -> None:
        rows = ((_figures(row), _columns(row)) for row in bulk.latest()[: options["limit"]])
        self.say_table(options, ("ID", "STATE", "DONE", "ASKED", "WHAT"), rows)

    def _show(self, options: dict[str, Any]) -> None:
        row = bulk.get(options["id"])
        left = bulk.time_left(row)
        lines = [
            bulk.sentence(row),
            f"  {row.state}: {row.done:,} done, {row.skipped:,} skipped, {row.failed:,} failed of {row.total:,}"
            + (f", {span(left)} left" if left is not None else ""),
            *([f"  stopped: {row.error}"] if row.error else []),
            *[f"  {each['class']} {each['name']}: {each['error']}" for each in row.failures],
        ]
        self.say(options, _figures(row) | {"failures": row.failures}, "\n".join(lines))

    def _stop(self, options: dict[str, Any]) -> None:
        row = bulk.get(options["id"])
        if not bulk.stop(row):
            raise CommandError(f"operation {row.pk} does not run: it is {row.state}")
        self.say(options, {"stopped": True}, f"operation {row.pk} stops after the chunk that is under way")

    def _resume(self, options: dict[str, Any]) -> None:
        row = bulk.get(options["id"])
        if not bulk.go_on(row, by=user()):
            raise CommandError(f"operation {row.pk} was not stopped: it is {row.state}")
        row = bulk.get(row.pk)
        if row.state == bulk.WAITING:
            text = f"operation {row.pk} goes on once operation {row.after_id}, which comes before it, is done"
            self.say(options, {"waits_for": row.after_id}, text)
        else:
            self.follow(options, row)


def _verbs() -> str:
    return "one of " + ", ".join(verb.name for verb in bulk_verbs.every())


def _arguments() -> dict[str, str]:
    """Return what the verbs take, by name, with what it means to which verb."""
    taken: dict[str, list[str]] = {}
    for verb in bulk_verbs.every():
        for each in verb.arguments:
            taken.setdefault(each.name, []).append(f"{verb.name}: {each.help}")
    return {name: "; ".join(texts) for name, texts in taken.items()}


def _late_figures(late: outage.Late, ages: list[str]) -> dict[str, Any]:
    by_age = dict(zip(ages, late.by_age, strict=True))
    return {"kind": late.label, "late": late.number, "by_age": by_age, "oldest": late.oldest.isoformat()}


def _late_columns(late: outage.Late, now: datetime) -> tuple[str, ...]:
    by_age = [f"{number:,}" for number in late.by_age]
    return (late.label, f"{late.number:,}", *by_age, relative(late.oldest, now))


def _figures(row: Operation) -> dict[str, Any]:
    names = ("verb", "selection", "arguments", "reason", "by", "rate", "state", "error")
    counts = ("total", "done", "skipped", "failed")
    figures = {name: getattr(row, name) for name in (*names, *counts)}
    return {"id": row.pk, **figures, "asked_at": row.asked_at.isoformat()}


def _columns(row: Operation) -> tuple[str, ...]:
    return str(row.pk), row.state, f"{bulk.seen(row):,}/{row.total:,}", absolute(row.asked_at), bulk.sentence(row)
