"""``manage.py objects``: list, show, call, delete, export, import; get, put, delete_key; copy, snapshot, restore;
partition.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import QuerySet

from durable_objects import InvalidValue
from durable_objects.alarms.limits import held_back
from durable_objects.alarms.pauses import Paused, paused
from durable_objects.alarms.queries import count
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.entries import serializer
from durable_objects.entries.sql import Range, scan
from durable_objects.escaping import one_line
from durable_objects.formatting import HIDDEN, absolute, gist, is_known, label, masked, number_of, short, span, value
from durable_objects.handler_errors import is_failure, named
from durable_objects.kinds import label_of, used
from durable_objects.management.base import (
    ManyLines,
    add_object,
    confirm,
    errors_in_one_line,
    find_class,
    find_object,
    find_row,
    kind_of,
    paged,
)
from durable_objects.management.commands.alarms import lines
from durable_objects.management.copies import CopyVerbs, opened
from durable_objects.management.entries import EntryVerbs
from durable_objects.management.partitions import PartitionVerb
from durable_objects.management.reasons import add_reason, reason_of, tell
from durable_objects.management.selecting import add_state, add_where, selection_of
from durable_objects.management.streams import lines_of
from durable_objects.models import DurableObject
from durable_objects.operations import actions, dump
from durable_objects.operations.explain import explain, status_of
from durable_objects.operations.metrics import counted
from durable_objects.tables import Alarm, AlarmRun, Object

#: Methods that only the engine calls.
HOOKS = {"initialize", "alarm", "alarm_died"}
RUNS = 10

#: Failures that are reported one by one.
FAILURES_SHOWN = 20


class Command(CopyVerbs, EntryVerbs, PartitionVerb):
    help = "Show objects of any class, call their methods, copy, restore or delete them, move them between databases."
    examples = """examples:
  manage.py objects list                                     (the classes)
  manage.py objects list batcher.Batcher --prefix eu- --state dead
  manage.py objects show batcher.Batcher orders
  manage.py objects call batcher.Batcher orders add_item '{"id": 1}'
  manage.py objects call batcher.Batcher orders configure max_items=50 upstream_url='"http://127.0.0.1:9000/"'
  manage.py objects put shop.Cart ada items '["tea"]' --if-value '[]'
  manage.py objects put shop.Cart ada seen_at 2031-01-01T09:30:00+01:00 --type datetime
  manage.py objects delete shop.Gone --all --yes             (also if the class is gone from the code)
  manage.py objects export batcher.Batcher > batchers.jsonl
  manage.py objects import batchers.jsonl --dry-run
  manage.py objects copy shop.Cart ada ada-looked-at         (paused, until `alarms resume`)
  manage.py objects snapshot shop.Cart ada ada.jsonl
  manage.py objects restore ada.jsonl --replace
  manage.py objects partition 16                             (for tens of millions of objects on PostgreSQL)

ARGS are JSON, or NAME=JSON by keyword; text is written '"text"'. Values that JSON lacks (times, tuples …) are written
as `objects show --json` shows them. `import` leaves alarms on hold unless --arm."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Add a subcommand for each verb."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help="list the classes, or the objects of one class by name")
        listing.add_argument("kind", nargs="?", metavar="KIND", help="app_label.ClassName")
        add_where(listing, "objects")
        add_state(listing, "objects whose alarm is")
        listing.add_argument("--after", metavar="NAME", help="continue after this name")
        listing.add_argument("--limit", type=int, default=50, help="objects to list, default 50")
        show = verbs.add_parser("show", help="show an object: its storage, its alarm, explained, and its last runs")
        add_object(show)
        show.add_argument("--prefix", default="", help="only keys that begin with this")
        show.add_argument("--after", metavar="KEY", help="continue after this key")
        show.add_argument("--limit", type=int, default=100, help="entries to show, default 100")
        call = verbs.add_parser("call", help="call a public method of its class; prints what it returns, as JSON")
        add_object(call)
        call.add_argument("method", metavar="METHOD")
        call.add_argument("arguments", nargs="*", metavar="ARGS", help="JSON, or NAME=JSON")
        away = verbs.add_parser(
            "delete",
            help="delete with storage, alarm and history, also without the class; with --all, all that match",
        )
        add_object(away, may_miss=True)
        away.add_argument("--all", action="store_true", help="all objects of KIND, instead of one by NAME")
        add_where(away, "objects")
        add_reason(away)
        away.add_argument("--yes", action="store_true", help="do not ask for confirmation")
        out = verbs.add_parser(
            "export", help="write objects with their entries and alarms to standard output, as JSON lines"
        )
        out.add_argument("kind", nargs="?", metavar="KIND", help="app_label.ClassName; without it, every class")
        add_where(out, "objects")
        back = verbs.add_parser("import", help="store what `export` wrote, alarms on hold")
        back.add_argument("file", metavar="FILE", help="a file, or - for standard input")
        back.add_argument("--arm", action="store_true", help="set the alarms that were armed")
        back.add_argument("--replace", action="store_true", help="overwrite objects that exist already")
        back.add_argument("--dry-run", action="store_true", help="read and check everything, write nothing")
        self.add_entry_verbs(verbs)
        self.add_copy_verbs(verbs)
        self.add_partition_verb(verbs)
        for subparser in verbs.choices.values():
            subparser.add_argument("--json", action="store_true", help="print JSON, one value per line")

    def _list(self, options: dict[str, Any]) -> None:
        selection = selection_of(options)
        if not selection.given:
            for kind, number in _by_class():
                self.say(options, {"kind": kind, "objects": number}, f"{counted(number):>8}  {kind}")
            return
        now, is_of_one_class = clock.now(), selection.get("class:") is not None
        rows = selection.objects(now).select_related("kind", "alarm_row")
        if options["after"] is not None:
            rows = rows.filter(name__gt=options["after"])
        page = list(rows.order_by("name", "pk")[: options["limit"] + 1])
        held, limited = paused(now), held_back(now)
        header = ("ALARM", "NAME", "DUE") if is_of_one_class else ("ALARM", "NAME", "DUE", "CLASS")
        lines = (_row(row, held, limited) for row in page[: options["limit"]])
        self.say_table(options, header, ((figures, columns[: len(header)]) for figures, columns in lines))
        if len(page) > options["limit"] and not options["json"]:
            after = f"--after {json.dumps(page[-2].name, ensure_ascii=False)}"
            self.stdout.write(f"more: {after}" if is_of_one_class else "more: name a KIND, or set --limit higher")

    def _show(self, options: dict[str, Any]) -> None:
        row = find_row(options)
        hidden = masked(row)
        where = Range(prefix=options["prefix"] or None, after=options["after"])
        entries = scan(clock.connection(), row.pk, where, options["limit"])
        runs = AlarmRun.objects.using(engine.DATABASE).filter(object_id=row.pk).order_by("-id")[:RUNS]
        found = explain(row, clock.now())
        if options["json"]:
            shown = {key: HIDDEN if hidden(key) else json.loads(text) for key, text in entries.items()}
            figures = {"kind": kind_of(row), "name": row.name, "id": row.pk, "alarm": found.as_dict()}
            self.say(options, {**figures, "storage": shown, "runs": [_run(run) for run in runs]}, "")
            return
        for line in lines(f"{kind_of(row)} {label(row.name)} (id {row.pk})", found):
            self.stdout.write(line)
        self.stdout.write(f"storage, {number_of(len(entries), 'entry', 'entries')} shown:")
        for key, text in entries.items():
            read = value(text, len(text))
            text_shown = HIDDEN if hidden(key) else short(" ".join(read.text.split()), 100)
            self.stdout.write(f"  {label(key)}  {read.kind}, {len(text.encode()):,} B  {text_shown}")
        if len(entries) == options["limit"]:
            self.stdout.write(f"more: --after {json.dumps(next(reversed(entries)), ensure_ascii=False)}")
        self.stdout.write("last runs, newest first:" if runs else "no runs on record")
        for run in runs:
            late, took = span(run.started_at - run.due_at), span(run.ended_at - run.started_at)
            error = f"  {one_line(gist(run.error))}" if run.error else ""
            of = f"schedule {label(run.schedule)}  " if run.schedule else ""
            self.stdout.write(f"  {absolute(run.started_at)}  {of}{run.outcome}  late by {late}, took {took}{error}")

    def _call(self, options: dict[str, Any]) -> None:
        obj = find_class(options["kind"]).by_name(options["name"])
        method = _method(obj, options["method"])
        args, kwargs = _arguments(options["arguments"])
        try:
            inspect.signature(method).bind(*args, **kwargs)
        except TypeError as error:
            signature = f"{options['method']}{inspect.signature(method)}"
            raise CommandError(f"{error}; it is {signature}") from error
        with errors_in_one_line():
            result = method(*args, **kwargs)
        try:
            self.stdout.write(serializer.encode(result))
        except InvalidValue:
            self.stdout.write(json.dumps({"repr": repr(result)}, ensure_ascii=False))

    def _delete(self, options: dict[str, Any]) -> None:
        if options["kind"] is None or options["all"] == (options["name"] is not None):
            raise CommandError("name one by KIND and NAME, or take all of KIND by --all (with --where, --prefix)")
        reason = reason_of(options)
        if options["all"]:
            rows = _objects(options)
            asked = f"{counted(count(rows))} objects of {options['kind']}"
        else:
            obj = find_object(options)
            rows = Object.objects.using(engine.DATABASE).filter(kind_id=_kind_id(obj), name=obj.name)
            asked = f"{options['kind']} {label(obj.name)}"
        confirm(
            options, f"delete {asked}, with storage, alarm and history?", f"{asked}: add --yes to delete without asking"
        )
        done, failed = 0, []
        with self.progress(count(rows), "delete") as bar:
            for row in paged(rows):
                try:
                    if actions.delete(row):
                        done += 1
                        tell("Deleted", row, reason)
                except BaseException as error:  # the object's own initialize() may raise anything
                    if not is_failure(error):
                        raise
                    failed.append(f"{label(row.name)}: {named(error)}")
                bar.update(1)
        self.say(options, {"deleted": done, "failed": len(failed)}, f"{done} deleted")
        if failed:
            raise ManyLines(f"{len(failed)} failed:", *failed[:FAILURES_SHOWN])

    def _export(self, options: dict[str, Any]) -> None:
        rows = _objects(options)
        with self.progress(count(rows), "export") as bar:
            for line in dump.dump(rows):
                self.stdout.write(line)
                bar.update(line.startswith('{"kind":'))

    def _import(self, options: dict[str, Any]) -> None:
        totals = {"imported": 0, "exists": 0, "refused": 0, "entries": 0, "armed": 0, "held": 0, "dead": 0}
        chosen = {name: options[name] for name in ("arm", "replace", "dry_run")}
        with opened(options["file"]) as file:
            for done in dump.load(lines_of(file), **chosen):
                totals[done.outcome] += 1
                totals["entries"] += done.entries
                totals.update({done.alarm: totals[done.alarm] + 1} if done.alarm != "none" else {})
                if done.outcome != "imported":
                    which = f"{done.outcome}: {done.kind} {label(done.name)} {done.reason}"
                    self.stderr.write(one_line(which).rstrip())
        text = ", ".join(f"{name} {number}" for name, number in totals.items())
        self.say(options, {**totals, "dry_run": options["dry_run"]}, text + (" (dry run)" * options["dry_run"]))
        if totals["held"] and not options["json"]:
            self.stdout.write("Alarms on hold are not set; --arm sets them.")
        if totals["exists"] or totals["refused"]:
            raise CommandError(f"{totals['exists'] + totals['refused']} objects were not imported")


def _row(row: Object, held: Paused, limited: frozenset[int]) -> tuple[dict[str, Any], tuple[str, ...]]:
    slot: Alarm | None = getattr(row, "alarm_row", None)
    is_held, is_limited = held.holds(row.pk, row.kind_id), row.kind_id in limited
    status = status_of(slot, held.now, known=is_known(row), paused=is_held, limited=is_limited)
    due = slot.due_at if slot else None
    figures = {"kind": kind_of(row), "name": row.name, "alarm": status.word, "due_at": due and due.isoformat()}
    return figures, (status.word, label(row.name), absolute(due) if due else "", kind_of(row))


def _objects(options: dict[str, Any]) -> QuerySet[Object]:
    return selection_of(options).objects(clock.now())


def _kind_id(obj: Object) -> int:
    return obj.kind_pk() if isinstance(obj, DurableObject) else obj.kind_id


def _by_class() -> Iterator[tuple[str, int]]:
    for kind in used():
        yield label_of(kind.pk), count(Object.objects.using(engine.DATABASE).filter(kind=kind))


def _method(obj: DurableObject, name: str) -> Callable[..., Any]:
    """Return a public method that the class itself defines, none of Django's or the engine's; else ``CommandError``."""
    own = [base for base in type(obj).__mro__ if issubclass(base, DurableObject) and not base.is_base()]
    names = {each for base in own for each, found in vars(base).items() if inspect.isfunction(found)}
    allowed = sorted(each for each in names - HOOKS if not each.startswith("_"))
    if name not in allowed:
        raise CommandError(f"{name!r} is not one of its public methods: {', '.join(allowed) or 'it has none'}")
    method: Callable[..., Any] = getattr(obj, name)
    return method


def _arguments(texts: list[str]) -> tuple[list[Any], dict[str, Any]]:
    args, kwargs = [], {}
    for text in texts:
        name, equals, rest = text.partition("=")
        if equals and name.isidentifier():
            kwargs[name] = _json(rest)
        else:
            args.append(_json(text))
    return args, kwargs


def _json(text: str) -> Any:
    try:
        return serializer.decode(text)
    except InvalidValue as error:
        raise CommandError(f"{text!r} is not JSON; as a text it is written {json.dumps(text)!r}") from error


def _run(run: AlarmRun) -> dict[str, Any]:
    moments = ("scheduled_at", "due_at", "wake_up_for", "picked_up_at", "started_at", "ended_at")
    times = {name: at and at.isoformat() for name in moments for at in [getattr(run, name)]}
    return {
        "schedule": run.schedule,
        "outcome": run.outcome,
        "retry_count": run.retry_count,
        **times,
        "error": run.error,
    }
