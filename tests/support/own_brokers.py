"""Brokers of a test's own, to flush, freeze or end: a Redis process, a RabbitMQ process or virtual host."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis
from amqp.exceptions import AMQPError, NotFound
from kombu import Connection, Queue

from project.demo.processes import wait_for
from tests.support import services

PATIENCE = 20.0
#: Where packages of RabbitMQ put its programs.
SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin", "/opt/homebrew/sbin")


def missing(program: str) -> None:
    """Skip the test for want of a program; fail it where CI is set."""
    reason = f"no {program} on PATH"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


class OwnRedis:
    """A Redis server on a free port of this machine, for the ``with`` block; keeps nothing on disk.

    It listens on the loopback, and on ``addresses``.
    """

    def __init__(self, folder: Path, *addresses: str) -> None:
        if shutil.which("redis-server") is None:
            missing("redis-server")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder, self._addresses = folder, ["127.0.0.1", *addresses]
        self._own = folder / f"redis-{self.port}"  # of its own, so that it may be taken away
        self.client = redis.Redis(port=self.port, socket_timeout=5)

    def start(self) -> Self:
        """Start it, again after ``stop`` too, empty; returns once it answers."""
        arguments = ["--port", str(self.port), "--save", "", "--appendonly", "no", "--protected-mode", "no"]
        arguments += ["--bind", *self._addresses]
        self._own.mkdir(exist_ok=True)
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(["redis-server", *arguments], cwd=self._own, stdout=log, stderr=log)
        wait_for("Redis to answer", self._answers, seconds=PATIENCE)
        return self

    def stop(self) -> None:
        """End it: connections to it are refused from now on."""
        self.thaw()
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: connections are taken by the system, and nothing ever answers."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT, after ``freeze``."""
        self._process.send_signal(signal.SIGCONT)

    def empty(self) -> None:
        """Take every message away."""
        self.client.flushall()

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.client.close()
        self.stop()


class OwnRabbitServer:
    """A RabbitMQ server on a free port of this machine, for the ``with`` block; keeps its queues over ``stop``."""

    _SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # the one on PATH serves the system's own node only
    _USER = "rabbitmq"  # who owns it there; root may not run it

    def __init__(self) -> None:
        if not self._SERVER.exists():
            missing("rabbitmq-server")
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
            self.port, self._between_nodes = one.getsockname()[1], other.getsockname()[1]
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> Self:
        """Start it, again after ``stop`` too; returns once it takes connections."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "RABBITMQ_NODENAME": f"chaos{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._between_nodes),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none -setcookie chaos",
        }
        command = [str(self._SERVER)]
        if os.geteuid() == 0:
            command = ["runuser", "-u", self._USER, "--", *command]
        with (self._folder / "out").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        wait_for("RabbitMQ to answer", self._answers, seconds=3 * PATIENCE)
        return self

    def stop(self) -> None:
        """End it with -9, and all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def freeze(self) -> None:
        """SIGSTOP: connections are taken by the system, and nothing ever answers."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT, after ``freeze``."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def empty(self) -> None:
        """Take every message away, also those that wait for their time; the queues stay."""
        wait_for("RabbitMQ to purge its queues", self._purges, seconds=PATIENCE)

    def control(self, *arguments: str) -> None:
        """``rabbitmqctl`` for this node."""
        program = str(self._SERVER.with_name("rabbitmqctl"))
        command = [program, "-n", f"chaos{self.port}@localhost", "--erlang-cookie", "chaos", *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", self._USER, "--", *command]
        given = {"PATH": os.environ["PATH"], "HOME": str(self._folder)}
        done = subprocess.run(
            command, cwd=self._folder, env=given, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"rabbitmqctl {arguments} ended with {done.returncode}: {done.stderr}"

    def _purges(self) -> bool:
        try:
            with Connection(self.url, connect_timeout=PATIENCE) as connection:
                for queue in ("alarms", "dispatch", *(f"celery_delayed_{level}" for level in range(28))):
                    with suppress(NotFound), connection.channel() as channel:
                        Queue(queue, channel=channel).purge()
        except (OSError, AMQPError):  # just restarted: a queue that has no leader yet is an internal error to it
            return False
        return True

    def _answers(self) -> bool:
        try:
            with Connection(self.url, connect_timeout=1) as connection:
                connection.connect()
        except (OSError, AMQPError):
            return False
        return True

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="durable-objects-rabbitmq-"))
        (self._folder / "plugins").write_text("[].")
        (self._folder / "rabbitmq.conf").write_text("vm_memory_high_watermark.absolute = 1GB\n")
        if os.geteuid() == 0:
            for path in (self._folder, *self._folder.iterdir()):
                shutil.chown(path, self._USER)
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


class OwnRabbit:
    """A virtual host of the RabbitMQ that answers."""

    def __init__(self, url: str) -> None:
        self.name = f"durable_objects_{uuid.uuid4().hex[:12]}"
        self.user = urlsplit(url).username or "guest"
        self.url = urlunsplit(urlsplit(url)._replace(path=f"/{self.name}"))

    def make(self) -> None:
        """Make it, empty."""
        control("add_vhost", self.name)
        control("set_permissions", "-p", self.name, self.user, ".*", ".*", ".*")

    def remove(self) -> None:
        """Take it away, with its queues; who is connected to it is disconnected."""
        control("delete_vhost", self.name)

    def empty(self) -> None:
        """Take every message away, also those that wait for their time; the queues stay."""
        for queue in self.queues():
            control("purge_queue", "-p", self.name, queue)

    def queues(self) -> dict[str, int]:
        """Its queues that hold messages, with how many."""
        listed = control("list_queues", "-p", self.name, "-q", "--no-table-headers", "name", "messages")
        figures = dict(line.split("\t") for line in listed.splitlines() if "\t" in line)
        return {name: int(count) for name, count in figures.items() if int(count)}


def rabbitmqctl() -> str | None:
    """The program, also where system folders are not on PATH, as for most people's shells; None where it is missing."""
    return shutil.which("rabbitmqctl") or shutil.which("rabbitmqctl", path=os.pathsep.join(SYSTEM_FOLDERS))


def control(*arguments: str) -> str:
    """What ``rabbitmqctl`` says."""
    done = subprocess.run(
        [rabbitmqctl() or "rabbitmqctl", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"rabbitmqctl {arguments} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def own_rabbit() -> Iterator[OwnRabbit]:
    """A virtual host made for this block and removed after it."""
    url = services.require("rabbitmq")
    if rabbitmqctl() is None:
        missing("rabbitmqctl")
    rabbit = OwnRabbit(url)
    rabbit.make()
    try:
        yield rabbit
    finally:
        rabbit.remove()
