"""Many items from a stream: in chunks, in bounded memory, each chunk in one turn."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.core.management.base import CommandError
from django.db import Error
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from batcher.models import Batcher
from durable_objects import DurableObjectError
from durable_objects.management.base import message_for

CHUNK = 500

Read = Callable[[str], Any]


def as_text(line: str) -> Any:
    """Read a line as an item: its text."""
    return line


def as_json(line: str) -> Any:
    """Read a line as an item: the JSON on it. Raises ``ValueError``."""
    return json.loads(line)


def add(batcher: Batcher, lines: Iterable[str], read: Read, *, show_progress: bool) -> int:
    """Add each line as one item, and return how many there were.

    Raises ``CommandError`` at the first line that is not an item and when the batcher is full, with what was wrong, the
    number of the line, and that those before it were added.
    """
    added = 0
    try:
        for chunk in _shown(iter(lines), show_progress=show_progress):
            for count in _add(batcher, chunk, read):
                added += count
    except (DurableObjectError, ValueError, RecursionError) as error:
        raise CommandError(
            f"line {added + 1:,} was not added: {error} (the {added:,} lines before it were added, and none after it)"
        ) from error
    except Error as error:
        raise CommandError(f"{message_for(error)} (the {added:,} lines before that were added)") from error
    return added


def _add(batcher: Batcher, chunk: list[str], read: Read) -> Iterator[int]:
    """Add a chunk in one turn, or line by line up to one that is not an item. Yields how many were added at a time."""
    try:
        batcher.add_items([read(line) for line in chunk])
    except (ValueError, RecursionError):
        for line in chunk:
            batcher.add_item(read(line))
            yield 1
    else:
        yield len(chunk)


def _shown(lines: Iterator[str], *, show_progress: bool) -> Iterator[list[str]]:
    """Yield the lines in chunks as they come in, with a count on the terminal (standard error) meanwhile."""
    console = Console(stderr=True)
    columns = (TextColumn("added"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not (show_progress and console.is_terminal)) as progress:
        task = progress.add_task("added", total=None)
        while chunk := list(itertools.islice(lines, CHUNK)):
            yield chunk
            progress.advance(task, len(chunk))
