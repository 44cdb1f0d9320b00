"""How long telling a broker may take: whatever state it is in, about a second."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from project import brokers
from tests.own_brokers import own_rabbit

AT_MOST = 1.6


def publisher(url: str) -> Any:
    """A task of an app with the project's settings for this broker."""
    app = Celery("publisher", set_as_current=False)
    app.config_from_object(brokers.celery_settings(url), namespace="CELERY")

    @app.task(name="nothing")
    def nothing() -> None:
        """Never run."""

    return nothing


def seconds_of_failing(task: Any) -> float:
    """How long it takes until publishing gives up."""
    began = time.monotonic()
    with pytest.raises(OperationalError):
        task.apply_async()
    return time.monotonic() - began


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    """A port that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{}/0", "amqp://guest:guest@127.0.0.1:{}//"], ids=["redis", "amqp"])
class TestAway:
    """A broker that was never there."""

    def test_a_refusal_is_quick(self, url: str, closed_port: int) -> None:
        """Nobody listens: known at once, with one retry."""
        assert seconds_of_failing(publisher(url.format(closed_port))) < 0.5

    def test_a_black_hole_is_left(self, url: str, silent_port: int) -> None:
        """Somebody listens and never answers: given up within about a second."""
        assert seconds_of_failing(publisher(url.format(silent_port))) < AT_MOST


class Wire:
    """A port that leads to another one, until it is frozen: then what is sent stays where it is."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open = threading.Event()
        self._open.set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """Nothing arrives any more; connections stay open."""
        self._open.clear()

    def thaw(self) -> None:
        """All goes on."""
        self._open.set()

    def close(self) -> None:
        """Take no more connections."""
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._server.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self._port))
            for source, sink in ((here, there), (there, here)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self._open.wait(30)
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                end.close()


@pytest.mark.services("rabbitmq")
def test_a_frozen_rabbitmq_is_left(rabbitmq_url: str) -> None:
    """A confirmation that never comes is waited for briefly, on the old connection and a new one; then all is well."""
    with own_rabbit() as rabbit:
        where = urlsplit(rabbit.url)
        wire = Wire(where.port or 5672)
        task = publisher(rabbit.url.replace(f":{where.port}", f":{wire.port}"))
        task.apply_async()
        wire.freeze()
        assert seconds_of_failing(task) < AT_MOST
        wire.thaw()
        task.apply_async()
        task.app.pool.force_close_all()
        wire.close()
