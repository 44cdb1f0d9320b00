"""The verbs of ``manage.py objects`` that copy one object, take a snapshot of one and restore it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from django.core.management.base import CommandError

from durable_objects.formatting import label
from durable_objects.management.base import VerbCommand, add_object, find_row, kind_of
from durable_objects.management.pauses import user
from durable_objects.management.streams import lines_of
from durable_objects.operations import copies
from durable_objects.operations.dump import Imported


class CopyVerbs(VerbCommand):
    """``copy``, ``snapshot`` and ``restore``."""

    def add_copy_verbs(self, verbs: Any) -> None:
        """Add a subcommand for each."""
        copying = verbs.add_parser("copy", help="store an object again under another name, paused")
        add_object(copying)
        copying.add_argument("to", metavar="TO", help="the name of the copy")
        _add_choices(copying)
        taking = verbs.add_parser("snapshot", help="write one object, as it is at one moment, for `restore`")
        add_object(taking)
        taking.add_argument("file", nargs="?", default="-", metavar="FILE", help="default: standard output")
        back = verbs.add_parser("restore", help="store the object that `snapshot` wrote, paused")
        back.add_argument("file", metavar="FILE", help="a file, or - for standard input")
        back.add_argument("--as", dest="to", metavar="NAME", help="store it under this name, not its own")
        _add_choices(back)

    def _copy(self, options: dict[str, Any]) -> None:
        row = find_row(options)
        self._say_stored(options, copies.copy(row, options["to"], **_choices(options)))

    def _snapshot(self, options: dict[str, Any]) -> None:
        row = find_row(options)
        if options["file"] == "-":
            for line in copies.snapshot(row):
                self.stdout.write(line)
            return
        path, entries = Path(options["file"]), -2  # beside the format's line and the object's
        with replacing(path) as file:
            for line in copies.snapshot(row):
                file.write(f"{line}\n")
                entries += 1
        figures = {"kind": kind_of(row), "name": row.name, "entries": entries, "file": str(path)}
        self.say(options, figures, f"{path}: {kind_of(row)} {label(row.name)} with {entries} entries")

    def _restore(self, options: dict[str, Any]) -> None:
        with opened(options["file"]) as file:
            stored = copies.restore(lines_of(file), name=options["to"], **_choices(options))
        self._say_stored(options, stored)

    def _say_stored(self, options: dict[str, Any], stored: Imported) -> None:
        paused = not options["armed"]
        name = f"{stored.kind} {label(stored.name)}"
        text = f"{name}: {stored.entries} entries, alarm {stored.alarm}"
        which = f"{stored.kind} {shlex.quote(stored.name)}"
        then = f". It is paused: `alarms resume {which}` lets its alarm and schedules run" if paused else ""
        self.say(options, {**stored.as_dict(), "paused": paused}, text + then)


def _add_choices(parser: Any) -> None:
    parser.add_argument("--armed", action="store_true", help="do not pause it: its alarm and schedules may run at once")
    parser.add_argument("--replace", action="store_true", help="overwrite an object that is there already")


def _choices(options: dict[str, Any]) -> dict[str, Any]:
    return {"armed": options["armed"], "replace": options["replace"], "by": user()}


@contextmanager
def opened(name: str) -> Iterator[IO[str]]:
    """Open a file for reading, ``-`` being standard input. Raises ``CommandError``."""
    if name == "-":
        yield sys.stdin
        return
    try:
        with Path(name).open(encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}") from error


@contextmanager
def replacing(path: Path) -> Iterator[IO[str]]:
    """Open a file that only its owner may read, and that takes the place of ``path`` once it is whole.

    Raises ``CommandError``.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with open(part, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
