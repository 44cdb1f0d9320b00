"""The options of commands that take what matches: ``--where``, and ``--class``, ``--state``, ``--prefix`` beside it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from durable_objects.alarms.queries import STATES
from durable_objects.management.base import find_kind
from durable_objects.operations.selection import Selection, Text


def add_where(parser: CommandParser, what: str, example: str = "name:eu-* late>5m tried>3") -> None:
    """Add ``--where`` and ``--prefix``, by which ``what`` is chosen."""
    parser.add_argument(
        "--where",
        metavar="SELECTION",
        default="",
        help=f"only {what} that match all of it: '{example}'",
    )
    parser.add_argument("--prefix", default="", help="only objects whose name begins with this")


def add_state(parser: CommandParser, what: str, default: str | None = None, *, narrows: bool = True) -> None:
    """Add ``--state``. Its default ``narrows`` what ``--where`` selects, unless that names a state; or yields to it."""
    unless = "unless --where has a state:" if narrows else "without --where"
    parser.add_argument(
        "--state",
        choices=list(STATES),
        help=f"only {what} in this state{f'; default: {default}, {unless}' if default else ''}",
    )
    parser.set_defaults(default_state=default, narrows=narrows)


def add_class(parser: CommandParser, what: str) -> None:
    """Add ``--class``."""
    parser.add_argument("--class", dest="of_class", metavar="KIND", help=f"only {what} of this class")


def selection_of(options: dict[str, Any]) -> Selection:
    """Return what the options select. Raises ``InvalidSelection``, and ``CommandError`` for what is given twice."""
    selection = Selection.parse(options["where"])
    kind, state, prefix = options.get("of_class") or options.get("kind"), options.get("state"), options["prefix"]
    if state is None and selection.get("state:") is None and (options.get("narrows") or not selection.given):
        state = options.get("default_state")
    asked = {
        "class": find_kind(kind).pk if kind else None,
        "state": state,
        "name": Text(prefix, is_beginning=True) if prefix else None,
    }
    for name, value in asked.items():
        if value is not None and selection.get(f"{name}:") is not None:
            raise CommandError(f"--where has {name}:, and an option too: leave out one of them")
    return selection.having(**{name: value for name, value in asked.items() if value is not None})
