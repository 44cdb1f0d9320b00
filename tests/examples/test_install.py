"""docs/start/install.md, typed into an empty folder: its blocks are files and commands, and the first alarm runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from project.demo.processes import Child, clean_environment, wait_for
from tests.examples.shop import REPOSITORY, SECONDS, written
from tests.support.own_brokers import OwnRedis

PAGE = REPOSITORY / "docs" / "start" / "install.md"
_BLOCK = re.compile(r"^```(python|sh)\n(?:# (\S+\.py)\n)?(.*?)^```$", re.MULTILINE | re.DOTALL)
#: What the page installs is installed, and the broker that it names is somebody else's.
INSTALLS, BROKER = "pip install ", "redis://127.0.0.1:6379/0"


class Reader:
    """Somebody who types the page, in a folder with a project and an app as Django's tutorial makes them."""

    def __init__(self, folder: Path, broker: str, processes: ExitStack) -> None:
        self.folder, self.broker, self._processes = folder, broker, processes
        self.environment = clean_environment(PYTHONPATH=str(folder), PYTHONUNBUFFERED="1")
        self.started: list[Child] = []
        (folder / "durable_objects").symlink_to(REPOSITORY / "durable_objects")
        self.type("python -m django startproject mysite .")
        self.type("python manage.py startapp shop")

    def read(self, language: str, name: str, text: str) -> None:
        """Write a block of Python to the end of the file that it names; type the lines of another one."""
        if language == "python":
            with (self.folder / name).open("a") as file:
                file.write(text.replace(BROKER, self.broker))
            return
        for line in text.splitlines():
            if line and not line.startswith(INSTALLS):
                self.type(line)

    def type(self, line: str) -> None:
        """Type one line: what lasts is started, what ends has to end well."""
        program, *words = shlex.split(line, comments=True)
        arguments = words if program == "python" else ["-m", program, *words]
        if program == "celery" or "--loop" in words:
            child = Child(f"process{len(self.started)}", arguments, self.folder, self.folder, self.environment)
            self.started.append(self._processes.enter_context(child))
            return
        subprocess.run([sys.executable, *arguments], cwd=self.folder, env=self.environment, timeout=SECONDS, check=True)


@pytest.mark.slow
@pytest.mark.services("redis")
def test_the_page_leads_to_the_first_alarm(tmp_path: Path) -> None:
    """Whoever types it from the top to the end has an alarm that ran, and commands that work."""
    (folder := tmp_path / "project").mkdir()
    with OwnRedis(tmp_path) as redis, ExitStack() as processes:
        reader = Reader(folder, redis.url, processes)
        for block in _BLOCK.findall(PAGE.read_text("utf-8")):
            reader.read(*block)
        worker = reader.started[0]
        wait_for("the alarm", lambda: written(worker), seconds=SECONDS, until=lambda text: "breakfast is done" in text)
