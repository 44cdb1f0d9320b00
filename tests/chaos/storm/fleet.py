"""The processes of the random run, each by its role. One that ends by itself is started again, so that the run goes on,
and written down: that is a broken promise, which the checker reports.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
from pathlib import Path
from typing import Any

from tests.chaos.host import Host
from tests.chaos.storm import record
from tests.support.site_processes import TOKEN, Process, Site

#: Where Debian keeps it; a worker whose clock is wrong needs it.
FAKETIME = Path(f"/usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketimeMT.so.1")


#: The worker that is on a host of its own, where there is one.
AWAY = "worker-threads9"
#: One more ``manage.py up`` beside all others.
SECOND = "second"
#: So much of the log of a process that ended by itself is kept as evidence.
LOG_CHARACTERS = 1500


class Fleet:
    """Workers of both pools, two dispatchers, a web server and the callers. ``host``: where the worker ``AWAY`` is."""

    def __init__(self, site: Site, load: dict[str, Any], *, taken_out: str = "", host: Host | None = None) -> None:
        self.site, self.history, self.host = site, site.folder / "history", host
        self.history.mkdir()
        site.environment |= {"CHAOS_HISTORY": str(self.history), "CHAOS_TAKEN_OUT": taken_out}
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.load = {"subjects": 150, "threads": 3, "batchers": 4, "token": TOKEN, **load}
        self.living: dict[str, Process] = {}
        self._changing = threading.RLock()
        self._number = 0

    @property
    def workers(self) -> list[str]:
        """The names of the workers that are up."""
        return [name for name in self.living if name.startswith("worker")]

    def start(self, name: str, **environment: str) -> Process:
        """Start one by its name: ``worker-POOL`` (a number may follow), ``dispatcherN``, ``web``, ``load``, ``up``."""
        with self._changing:
            self._number += 1
            command = self._command(name)
            if name == AWAY and self.host:
                command, environment = self.host.inside(command), self.host.environment | environment
            process = self.site.start(f"{name}.{self._number}", *command, CHAOS_ROLE=role_of(name), **environment)
            self.living[name] = process
            return process

    def note_ended(self) -> list[str]:
        """Write down what has ended although nobody ended it; the names."""
        with self._changing:
            ended = [name for name, process in self.living.items() if process.exit_code() is not None]
            for name in ended:
                process = self.living.pop(name)
                process.may_end = True  # told by the checker
                said = process.text()[-LOG_CHARACTERS:]
                record.note(
                    "ended", name=name, of=role_of(name), process=process.pid, code=process.exit_code(), log=said
                )
            return ended

    def keep_up(self) -> None:
        """Start again what has ended by itself, once that is written down."""
        with self._changing:
            for name in self.note_ended():
                self.start(name)

    def leave_alone(self, name: str) -> None:
        """Neither keep this one up nor mind that it ends."""
        with self._changing:
            self.living.pop(name).may_end = True

    def restart(self, name: str, how: str = "kill", **environment: str) -> set[int]:
        """End one and start it again; the ids of the processes that this cost."""
        pids = self.retire(name, how)
        self.start(name, **environment)
        return pids

    def retire(self, name: str, how: str = "stop") -> set[int]:
        """End one for good, by -9 (``kill``) or by SIGTERM with ten seconds; others are kept up meanwhile."""
        with self._changing:
            pids, process = self.pids(name), self.living.pop(name)
        if how == "kill":
            process.kill()
        else:
            record.note("stopped", name=name, code=process.stop(10))
        return pids

    def pids(self, name: str) -> set[int]:
        """The process of this name and what it has forked; none while it is being replaced."""
        process = self.living.get(name)
        if process is None:
            return set()
        try:
            return {process.pid, *process.children()}
        except FileNotFoundError:
            return {process.pid}

    def wait_until_ready(self, name: str) -> None:
        """Wait until a worker takes messages."""
        self.living[name].says(" ready.", seconds=60)

    def some_worker(self, chance: random.Random) -> str:
        """One of the workers."""
        return chance.choice(self.workers)

    def wish(self, what: str, text: str = "") -> Path:
        """Ask a process for something by a file that it takes away."""
        file = self.history / what
        file.write_text(text)
        return file

    def _command(self, name: str) -> list[str]:
        if name.startswith("worker"):
            pool = name.partition("-")[2].rstrip("0123456789")
            options = ["--pool", pool, "--concurrency", "2" if pool == "prefork" else "4", "--loglevel", "INFO"]
            quiet = ["--without-mingle", "--without-gossip", "--without-heartbeat"]
            return ["-m", "celery", "-A", "project", "worker", "-n", f"{name}@%h", "-Q", "alarms", *options, *quiet]
        if name.startswith("dispatcher"):
            return ["manage.py", "alarms", "dispatch", "--loop", "--json"]
        if name == "web":
            options = ["--worker-class", "gthread", "--workers", "1", "--threads", "4", "--log-level", "warning"]
            return ["-m", "gunicorn", "project.wsgi:application", "--bind", f"127.0.0.1:{self._port}", *options]
        if role_of(name) == "second":
            return ["manage.py", "up", "--port", "0", "--json", "--no-admin"]
        if name == "up":
            return ["manage.py", "up", "--port", str(self._port), "--json", "--no-admin"]
        if {"web", "up"} & self.living.keys():
            self.load["web"] = f"http://127.0.0.1:{self._port}"
        return ["-m", "tests.chaos.storm.load", json.dumps(self.load)]


def role_of(name: str) -> str:
    """What a process of this name is: ``worker`` for ``worker-threads2``."""
    return name.partition("-")[0].rstrip("0123456789")


def wrong_clock(seconds: int) -> dict[str, str]:
    """The environment of a process whose wall clock is so many seconds off."""
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME": f"{seconds:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": str(Path(__file__).parent / "wrong_clock"),
    }
