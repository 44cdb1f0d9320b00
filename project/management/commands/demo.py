"""``manage.py demo``: the main job on real input, shown in plain lines."""

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
        "Run the main job on real input, checked against what an upstream process recorded; exit 0 if all was seen. "
        "DEMO_INPUT names the file whose lines are sent (default: git log, else CHANGELOG.md)."
    )
    requires_system_checks: list[str] = []  # nothing of this process's own settings is used

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the story. Raises ``CommandError`` with what was expected and what was seen."""
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
                report = f"The demonstration failed: {failure}\n{last_lines(Path(folder))}"
                raise ManyLines(*report.splitlines()) from failure
        self.say(f"All seen, in {time.monotonic() - began:.0f} s.")

    def say(self, line: str) -> None:
        """Print one line of the story at once."""
        self.stdout.write(line)
        self.stdout.flush()


def last_lines(folder: Path) -> str:
    """Return the end of each process's log, to find out why."""
    shown = []
    for log in sorted(folder.glob("*.log")):
        lines = log.read_text("utf-8", errors="replace").splitlines()[-LAST_LINES:]
        shown += [f"--- the last lines of {log.name} ---", *lines] if lines else []
    return "\n".join(shown)
