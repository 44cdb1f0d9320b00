"""The processes of the random run, each by its role, started again when they end, as an operator would have it."""

from __future__ import annotations

import json
import os
import random
import socket
import threading
from pathlib import Path
from typing import Any

from tests.processes import TOKEN, Process, Site

#: Where Debian keeps it; a worker whose clock is wrong needs it.
FAKETIME = Path(f"/usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketimeMT.so.1")


class Fleet:
    """Workers of both pools, two dispatchers, a web server and the callers."""

    def __init__(self, site: Site, load: dict[str, Any], *, taken_out: str = "") -> None:
        self.site, self.history = site, site.folder / "history"
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
            role = name.partition("-")[0].rstrip("0123456789")
            self._number += 1
            log = f"{name}.{self._number}"
            process = self.site.start(log, *self._command(name), CHAOS_ROLE=role, **environment)
            self.living[name] = process
            return process

    def keep_up(self) -> None:
        """Start again what has ended by itself."""
        with self._changing:
            for name, process in list(self.living.items()):
                if process.exit_code() is not None:
                    self.start(name)

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
            process.stop(10)
        return pids

    def pids(self, name: str) -> set[int]:
        """The process of this name and what it has forked."""
        process = self.living[name]
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
        if name == "up":
            return ["manage.py", "up", "--port", str(self._port), "--json", "--no-admin"]
        if {"web", "up"} & self.living.keys():
            self.load["web"] = f"http://127.0.0.1:{self._port}"
        return ["-m", "tests.chaos.storm.load", json.dumps(self.load)]


def wrong_clock(seconds: int) -> dict[str, str]:
    """The environment of a process whose wall clock is so many seconds off."""
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME": f"{seconds:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": str(Path(__file__).parent / "wrong_clock"),
    }
