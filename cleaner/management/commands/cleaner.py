"""``manage.py cleaner start|run|show|stop NAME``, ``manage.py cleaner list``."""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import CommandParser, DjangoHelpFormatter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cleaner.models import PeriodicCleaner, in_seconds
from cleaner.status import CleanerStatus, runs_of, statuses
from cleaner.tables import CleanerRun
from durable_objects import InvalidInput, durations, now
from durable_objects.escaping import one_line
from durable_objects.formatting import label
from durable_objects.management.base import PlainCommand
from durable_objects.management.reasons import add_reason, reason_of, tell

EXAMPLES = """examples:
  manage.py cleaner start sessions --interval 1h --max-age 1d
  manage.py cleaner start visits --model shop.Visit --field seen_at --max-age 30d
  manage.py cleaner run visits --dry-run
  manage.py cleaner show visits --json
  manage.py cleaner list"""

SHOWN_RUNS = 10
LISTED = 200
#: Rows that are counted beforehand for the progress bar; with more, the bar has no end.
COUNTED_BEFORE = 5_000_000


class _Help(DjangoHelpFormatter, RawDescriptionHelpFormatter):
    """Leaves the lines of the examples as they are."""


class Command(PlainCommand):
    help = "Start a cleaner, clean now, show cleaners, stop one."

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        """Build the parser, with examples below the options."""
        parser = super().create_parser(*args, formatter_class=_Help, **kwargs)
        parser.epilog = EXAMPLES
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="start|run|show|stop|list")
        start = self._verb(verbs, "start", "plan cleanups, with the settings given; others stay")
        start.add_argument("--interval", type=_span, metavar="SPAN", help="time between cleanups, as in 1h 30m")
        start.add_argument("--max-age", type=_span, metavar="SPAN", help="what is older is deleted, as in 1d")
        start.add_argument("--model", metavar="APP.MODEL", help="clean this model of CLEANER['MODELS']; '' for storage")
        start.add_argument("--field", help="its field of time; needed if several are allowed")
        run = self._verb(verbs, "run", "clean now, in this process and to the end; planned cleanups stay as they are")
        run.add_argument("--dry-run", action="store_true", help="only count what would be deleted")
        self._verb(verbs, "show", "show what it cleans, its next and last cleanups, and warnings")
        add_reason(self._verb(verbs, "stop", "plan nothing more until it is started again"))
        listing = verbs.add_parser("list", help=f"list all cleaners, up to {LISTED}")
        listing.add_argument("--json", action="store_true", help="print one line of JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        result = getattr(self, f"_{options['verb']}")(options)
        if options["json"]:
            self.stdout.write(json.dumps(result, default=_plain))
        elif isinstance(result, list):
            self.write_table(("NEXT", "INTERVAL", "MAX AGE", "CLEANS", "NAME", "WARNINGS"), map(_columns, result))
        else:
            self._print(result)

    def _verb(self, verbs: Any, name: str, text: str) -> ArgumentParser:
        parser: ArgumentParser = verbs.add_parser(name, help=text)
        parser.add_argument("name", metavar="NAME", help="the cleaner's name")
        parser.add_argument("--json", action="store_true", help="print one line of JSON")
        return parser

    def _start(self, options: dict[str, Any]) -> dict[str, Any]:
        cleaner = PeriodicCleaner.objects.get_by_name(options["name"])
        names = ("interval", "max_age", "model", "field")
        settings = {name: options[name] for name in names if options[name] is not None}
        if settings:
            cleaner.configure(**settings)
        cleaner.start()
        return _shown(options["name"])

    def _run(self, options: dict[str, Any]) -> dict[str, Any]:
        cleaner = PeriodicCleaner.objects.get_by_name(options["name"])
        with _progress(cleaner, show=not options["json"]) as on_chunk:
            if options["dry_run"]:
                found = cleaner.look(on_chunk=on_chunk)
                return {"cleaner": cleaner.name, "would_remove": found.expired, **_warned(found.in_seconds)}
            count = cleaner.cleanup(on_chunk=on_chunk)
        last = cleaner.last_report() or {}
        return {"cleaner": cleaner.name, "removed": count, "last": last, **_warned(last["in_seconds"])}

    def _show(self, options: dict[str, Any]) -> dict[str, Any]:
        return _shown(options["name"])

    def _stop(self, options: dict[str, Any]) -> dict[str, Any]:
        reason, cleaner = reason_of(options), PeriodicCleaner.objects.get_by_name(options["name"])
        if cleaner.stop():
            tell("Stopped", cleaner, reason)
        return _shown(options["name"])

    def _list(self, options: dict[str, Any]) -> list[dict[str, Any]]:
        cleaners = list(PeriodicCleaner.objects.order_by("name")[:LISTED])
        found, moment = statuses(cleaners), now()
        return [_described(cleaner.name, found[cleaner.pk], moment) for cleaner in cleaners]

    def _print(self, result: dict[str, Any]) -> None:
        for name, value in result.items():
            if isinstance(value, list):
                for each in value:
                    style = self.style.WARNING if isinstance(each, str) else None
                    line = _word(each) if isinstance(each, str) else _line(each)
                    self.stdout.write(f"{name.removesuffix('s')}: {line}", style)
            else:
                self.stdout.write(f"{name}: {_line(value) if isinstance(value, dict) else _word(value)}")


def _span(text: str) -> timedelta:
    try:
        return durations.parse(text)
    except InvalidInput as error:
        raise ArgumentTypeError(str(error)) from error


def _warned(number: int) -> dict[str, list[str]]:
    return {"warnings": [in_seconds(number)]} if number else {}


def _shown(name: str) -> dict[str, Any]:
    """Return the state of a cleaner; one that was never used stays so."""
    row = PeriodicCleaner.objects.filter(name=name).first()
    if row is None:
        unused = PeriodicCleaner.objects.get_by_name(name)
        return {"cleaner": unused.name, "used": False, "runs": [], "warnings": []}
    runs = [_figures(run) for run in runs_of(row.pk, SHOWN_RUNS)]
    return {**_described(name, statuses([row])[row.pk], now()), "runs": runs}


def _described(name: str, status: CleanerStatus, moment: datetime) -> dict[str, Any]:
    settings, progress = status.settings, status.progress
    return {
        "cleaner": name,
        "cleans": settings.target,
        "interval": settings.interval_in_force,
        "max_age": settings.max_age_in_force,
        "stopped": progress.stopped,
        "next": progress.planned_at,
        "running_since": progress.running_since,
        "last": _figures(status.last) if status.last else None,
        "warnings": status.warnings(moment),
    }


def _figures(run: CleanerRun) -> dict[str, Any]:
    return {
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "planned_at": run.planned_at,
        "examined": run.examined,
        "removed": run.removed,
        "remaining": run.remaining,
        "in_seconds": run.in_seconds,
        "oldest_left": run.oldest_left,
        "error": run.error,
    }


def _columns(cleaner: dict[str, Any]) -> tuple[str, ...]:
    planned = "stopped" if cleaner["stopped"] else _word(cleaner["next"])
    settings = (_word(cleaner["interval"]), _word(cleaner["max_age"]), cleaner["cleans"])
    return planned, *settings, label(cleaner["cleaner"]), " ".join(cleaner["warnings"])


def _plain(value: object) -> object:
    """Convert a span to seconds, a moment to ISO text."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _word(value: object) -> str:
    if isinstance(value, timedelta):
        return durations.write(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else "-" if value is None else one_line(str(value))


def _line(figures: dict[str, Any]) -> str:
    return "  ".join(f"{name}={_word(value)}" for name, value in figures.items() if value not in {None, ""})


@contextmanager
def _progress(cleaner: PeriodicCleaner, *, show: bool) -> Iterator[Callable[[int, int], None]]:
    """Yield an ``on_chunk`` that draws a bar on a terminal (standard error), and does nothing elsewhere."""
    console = Console(stderr=True)
    shown = show and console.is_terminal
    found = TextColumn("{task.fields[found]}")
    columns = (TextColumn("examined"), BarColumn(), MofNCompleteColumn(), found, TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not shown) as progress:
        total = cleaner.size(COUNTED_BEFORE) if shown else 0
        task = progress.add_task("cleaning", total=total if total < COUNTED_BEFORE else None, found="")
        yield lambda examined, found: progress.update(task, completed=examined, found=f"expired {found:,}")
