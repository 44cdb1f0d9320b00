"""A PostgreSQL server of a test's own, so that it may be stopped and killed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from tests.own_brokers import missing

#: PostgreSQL refuses to run as root; this is who it runs as then.
USER = "postgres"


class OwnPostgres:
    """A server on a free loopback port for the ``with`` block, with fsync as in production."""

    def __init__(self) -> None:
        if shutil.which("pg_config") is None:
            missing("pg_config")
        self._programs = Path(subprocess.check_output(["pg_config", "--bindir"], text=True).strip())
        if not (self._programs / "initdb").exists():
            missing("initdb")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"postgresql://{USER}@127.0.0.1:{self.port}/site"

    def start(self) -> None:
        """Start it, again after ``stop`` too; returns once it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder}"
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", f"{self._folder}/log", "-o", options)

    def stop(self, mode: str) -> None:
        """``fast``: sessions are cut off; ``immediate``: as a crash, with recovery at the next start."""
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", mode)

    def __enter__(self) -> Self:
        self._folder = tempfile.mkdtemp(prefix="durable-objects-postgres-")
        self._data = f"{self._folder}/data"
        if os.geteuid() == 0:
            shutil.chown(self._folder, USER)
        self._run("initdb", "-D", self._data, "-U", USER, "-A", "trust")
        self.start()
        with psycopg.connect(f"postgresql://{USER}@127.0.0.1:{self.port}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE site")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.stop("immediate")
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", USER, "--", *command]
        done = subprocess.run(
            command, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60, check=False
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr.decode()}"
