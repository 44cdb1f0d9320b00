"""``examples/shop``, copied into a folder of a test's own; it shares nothing with this tree but the engine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from project.demo.processes import Child, clean_environment

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "examples" / "shop"
SECONDS = 180.0


class Shop:
    """The project in its folder, on a database and a broker in files there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "shop"
        shutil.copytree(SOURCE, self.folder, ignore=shutil.ignore_patterns("var", "__pycache__", ".*_cache"))
        (self.folder / "durable_objects").symlink_to(REPOSITORY / "durable_objects")
        self.environment = clean_environment(PYTHONPATH=str(self.folder), PYTHONUNBUFFERED="1")

    def python(self, *arguments: str) -> str:
        """Run Python in its folder to its end; what it wrote to standard output. Fails unless it ends with 0."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr[-4000:]}"
        return done.stdout

    def manage(self, *commands: Sequence[str]) -> str:
        """Run these management commands, one after the other in one process; what they wrote to standard output."""
        calls = "; ".join(f"call_command(*{list(command)})" for command in commands)
        return self.python(
            "-c",
            "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'mysite.settings'; import django; django.setup();"
            f"from django.core.management import call_command; {calls}",
        )

    def worker(self) -> Child:
        """A Celery worker, to be used as a context."""
        arguments = ["-m", "celery", "-A", "mysite", "worker", "--pool", "threads", "--concurrency", "2", "-l", "INFO"]
        return Child("worker", arguments, self.folder, self.folder, self.environment)

    def dispatcher(self) -> Child:
        """``alarms dispatch --loop``, to be used as a context."""
        return Child(
            "dispatcher", ["manage.py", "alarms", "dispatch", "--loop"], self.folder, self.folder, self.environment
        )


def written(process: Child) -> str:
    """All that it has written so far."""
    folder = process.log.parent
    return "".join((folder / f"{process.name}.{kind}").read_text("utf-8") for kind in ("out", "log"))
