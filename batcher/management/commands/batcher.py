"""``manage.py batcher add|show|flush|cancel|replay NAME``."""

from __future__ import annotations

import itertools
import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from batcher.models import Batch, Batcher
from durable_objects import DurableObjectError

CHUNK = 500
SHOWN_BATCHES = 20


class Command(BaseCommand):
    help = "Add items to a batcher, look at it, send what waits, stop it, or send a batch again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="add|show|flush|cancel|replay")
        add = self._verb(verbs, "add", "add items, each argument one text; - reads them from standard input, by line")
        add.add_argument("items", nargs="+", metavar="ITEM", help="a text, or - for the lines of standard input")
        self._verb(verbs, "show", "how many items wait, when it acts next, its last batches")
        self._verb(verbs, "flush", "send now what waits, and try now what was not delivered")
        self._verb(verbs, "cancel", "stop until the next item")
        replay = self._verb(verbs, "replay", "send batches again, under the same keys")
        replay.add_argument("batches", nargs="*", metavar="BATCH", help="ids; none: all that failed")

    def handle(self, *args: Any, **options: Any) -> None:
        batcher = Batcher.objects.get_by_name(options["name"])
        try:
            result = getattr(self, f"_{options['verb']}")(batcher, options)
        except DurableObjectError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(result, default=str))
        else:
            self._print(result)

    def _verb(self, verbs: Any, name: str, text: str) -> ArgumentParser:
        parser: ArgumentParser = verbs.add_parser(name, help=text)
        parser.add_argument("name", metavar="NAME", help="the batcher's name")
        parser.add_argument("--json", action="store_true", help="print one line of JSON")
        return parser

    def _add(self, batcher: Batcher, options: dict[str, Any]) -> dict[str, Any]:
        added = 0
        if options["items"] == ["-"]:
            for chunk in _chunks(sys.stdin, show_progress=not options["json"]):
                batcher.add_items(chunk)
                added += len(chunk)
        else:
            batcher.add_items(options["items"])
            added = len(options["items"])
        return {"added": added, **_state(batcher)}

    def _show(self, batcher: Batcher, options: dict[str, Any]) -> dict[str, Any]:
        last = _batches(batcher).order_by("-sealed_at")[:SHOWN_BATCHES]
        return {**_state(batcher), "batches": [_line(batch) for batch in last.defer("items_json")]}

    def _flush(self, batcher: Batcher, options: dict[str, Any]) -> dict[str, Any]:
        batcher.flush()
        return _state(batcher)

    def _cancel(self, batcher: Batcher, options: dict[str, Any]) -> dict[str, Any]:
        return {"cancelled": batcher.cancel_alarm(), **_state(batcher)}

    def _replay(self, batcher: Batcher, options: dict[str, Any]) -> dict[str, Any]:
        failed = _batches(batcher).filter(status=Batch.Status.FAILED)
        wanted = options["batches"] or [str(pk) for pk in failed.values_list("pk", flat=True)]
        for batch_id in wanted:
            batcher.replay(batch_id)
        return {"replayed": wanted, **_state(batcher)}

    def _print(self, result: dict[str, Any]) -> None:
        for name, value in result.items():
            if isinstance(value, list):
                self.stdout.write(f"{name}: {len(value)}")
                for each in value:
                    self.stdout.write("  " + (each if isinstance(each, str) else _as_text(each)))
            else:
                self.stdout.write(f"{name}: {'-' if value is None else value}")


def _state(batcher: Batcher) -> dict[str, Any]:
    alarm = batcher.get_alarm_time()
    return {"batcher": batcher.name, "queued": batcher.queued(), "alarm": alarm.isoformat() if alarm else None}


def _batches(batcher: Batcher) -> QuerySet[Batch]:
    return Batch.objects.filter(batcher__in=Batcher.objects.filter(name=batcher.name))


def _line(batch: Batch) -> dict[str, Any]:
    return {
        "id": str(batch.id),
        "status": batch.status,
        "items": batch.item_count,
        "attempts": batch.attempts,
        "status_code": batch.status_code,
        "answer": batch.answer[:80],
        "next_try_at": batch.next_try_at.isoformat() if batch.next_try_at else None,
    }


def _as_text(line: dict[str, Any]) -> str:
    return "  ".join(f"{name}={value}" for name, value in line.items() if value not in {None, ""})


def _chunks(lines: Iterable[str], *, show_progress: bool) -> Iterator[list[str]]:
    """The lines in chunks as they come in, with a count on the terminal (standard error) while they are taken."""
    console = Console(stderr=True)
    columns = (TextColumn("added"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not (show_progress and console.is_terminal)) as progress:
        task = progress.add_task("added", total=None)
        rest = (line.removesuffix("\n") for line in lines)
        while chunk := list(itertools.islice(rest, CHUNK)):
            yield chunk
            progress.advance(task, len(chunk))
