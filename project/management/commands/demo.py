"""``manage.py demo``: the main job on real input, told in plain lines."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings
from django.core.management.base import CommandError

from durable_objects.management.base import ManyLines, PlainCommand
from project.demo.input import input_lines
from project.demo.processes import Failure
from project.demo.story import Story

LAST_LINES = 20


class Command(PlainCommand):
    """Runs the story in a folder of its own, with processes of its own; your database and var/ are not touched."""

    help = (
        "Show the main job on real input, judged by what an upstream process wrote down. Exit 0 only if all was seen. "
        "DEMO_INPUT names the file whose lines go in (default: git log, else CHANGELOG.md)."
    )
    requires_system_checks: list[str] = []  # nothing of this process's own settings is used

    def handle(self, *args: Any, **options: Any) -> None:
        """Tell the story. Raises ``CommandError`` with what was expected and what was seen."""
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the children end too
        repository = Path(settings.BASE_DIR)
        try:
            source, lines = input_lines(os.environ.get("DEMO_INPUT"), repository)
        except (OSError, ValueError) as error:
            raise CommandError(f"cannot read the demonstration's input: {error}") from error
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="durable-objects-demo-", ignore_cleanup_errors=True) as folder:
            try:
                with Story(self.say, Path(folder), repository) as story:
                    story.tell(source, lines)
            except (Failure, httpx.HTTPError) as failure:
                said = f"The demonstration failed: {failure}\n{last_lines(Path(folder))}"
                raise ManyLines(*said.splitlines()) from failure
        self.say(f"All seen, in {time.monotonic() - began:.0f} s.")

    def say(self, line: str) -> None:
        """One line of the story, at once."""
        self.stdout.write(line)
        self.stdout.flush()


def last_lines(folder: Path) -> str:
    """The end of each process's log, for the one who has to find out why."""
    told = []
    for log in sorted(folder.glob("*.log")):
        lines = log.read_text("utf-8", errors="replace").splitlines()[-LAST_LINES:]
        told += [f"--- the last lines of {log.name} ---", *lines] if lines else []
    return "\n".join(told)
