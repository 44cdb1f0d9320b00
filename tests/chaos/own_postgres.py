"""A PostgreSQL server of a test's own, so that it may be stopped and killed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from project.demo.processes import wait_for
from tests.support.own_brokers import missing
from tests.support.tcp_proxy import TcpProxy

#: PostgreSQL refuses to run as root; this is who it runs as then.
USER = "postgres"


class OwnPostgres:
    """A server on a free loopback port for the ``with`` block, with fsync as in production.

    It listens on the loopback, and on ``addresses``, from whose neighbours anybody may connect.
    """

    def __init__(self, *addresses: str) -> None:
        if shutil.which("pg_config") is None:
            missing("pg_config")
        self._programs = Path(subprocess.check_output(["pg_config", "--bindir"], text=True).strip())
        if not (self._programs / "initdb").exists():
            missing("initdb")
        self._addresses = ["127.0.0.1", *addresses]
        self.port = free_port()
        self.url = f"postgresql://{USER}@127.0.0.1:{self.port}/site"

    def start(self) -> None:
        """Start it, again after ``stop`` too; returns once it answers."""
        self._start(self._data, self.port)

    def stop(self, mode: str) -> None:
        """``fast``: sessions are cut off; ``immediate``: as a crash, with recovery at the next start."""
        self._stop(self._data, mode)

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A session of the administrator's, which no limit of the database or the role holds for; each statement is a
        transaction.
        """
        free = "-c default_transaction_read_only=off -c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0"
        url = f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"
        return psycopg.connect(url, autocommit=True, options=free, connect_timeout=10)

    def __enter__(self) -> Self:
        self._folder = tempfile.mkdtemp(prefix="durable-objects-postgres-")
        self._data = f"{self._folder}/data"
        if os.geteuid() == 0:
            shutil.chown(self._folder, USER)
        self._run("initdb", "-D", self._data, "-U", USER, "-A", "trust")
        with Path(self._data, "pg_hba.conf").open("a") as rules:
            rules.writelines(f"host all all {address}/30 trust\n" for address in self._addresses)
        self.start()
        with self.connect() as connection:
            connection.execute("CREATE DATABASE site")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.stop("immediate")
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, data: str, port: int) -> None:
        options = f"-p {port} -c listen_addresses={','.join(self._addresses)} -c unix_socket_directories={self._folder}"
        self._run("pg_ctl", "start", "-w", "-D", data, "-l", f"{data}.log", "-o", options)

    def _stop(self, data: str, mode: str) -> None:
        self._run("pg_ctl", "stop", "-w", "-D", data, "-m", mode)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", USER, "--", *command]
        done = subprocess.run(
            command, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60, check=False
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr.decode()}"


class OwnPair(OwnPostgres):
    """A primary and a synchronous standby, behind a port that leads to whoever is the primary."""

    def __init__(self) -> None:
        super().__init__()
        self._wire = TcpProxy(self.port)
        self.url = f"postgresql://{USER}@127.0.0.1:{self._wire.port}/site"
        self._standby = ("", 0)
        self._made = 0

    def promote(self, mode: str) -> float:
        """End the primary (``immediate``: as a crash), promote the standby, lead to it; the seconds that this took.

        Nothing was acknowledged that the standby does not have.
        """
        began = time.monotonic()
        old = self._data
        self._wire.stop()
        self.stop(mode)
        self._data, self.port = self._standby
        self._run("pg_ctl", "promote", "-w", "-D", self._data)
        self._wire.lead_to(self.port)
        self._wire.start()
        took = time.monotonic() - began
        shutil.rmtree(old)
        return took

    def add_standby(self) -> None:
        """Copy the primary, and let it acknowledge from now on only what the copy has as well."""
        self._made += 1
        data, port = f"{self._folder}/standby{self._made}", free_port()
        self._run("pg_basebackup", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-D", data, "-R", "-c", "fast")
        self._start(data, port)
        self._standby = (data, port)
        with self.connect() as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
            synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
            look = lambda: connection.execute(synchronous).fetchone()  # noqa: E731  one look of the wait below
            wait_for("the standby to be synchronous", look, seconds=30, until=lambda row: row == (1,))

    def __enter__(self) -> Self:
        super().__enter__()
        self.add_standby()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._wire.stop()
        with suppress(AssertionError):
            self._stop(self._standby[0], "immediate")
        super().__exit__(kind, error, at)


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
