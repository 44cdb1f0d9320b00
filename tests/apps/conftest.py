"""Fixtures for the tests of the three apps."""

import socket
import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from batcher.models import Batcher
from durable_objects.pytest_plugin import alarm_clock, crash_at
from durable_objects.testing import FakeClock
from reminders import channels
from reminders.models import Recipient, Reminder
from tests.support.sent_messages import Sent
from tests.support.upstream import Upstream

__all__ = ["alarm_clock", "crash_at", "upstream"]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A scriptable HTTP upstream of the test's own; answers 200 unless told otherwise."""
    with Upstream() as server:
        yield server


@pytest.fixture
def dripping() -> Iterator[str]:
    """An upstream that takes a post and lets its answer drip, a byte every 20 ms, for ever."""
    server = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65_536)
            for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"." * 1000:
                if ended.wait(0.02):
                    return
                try:
                    connection.send(bytes([byte]))
                except OSError:
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}/"
    ended.set()
    server.close()
    thread.join(5)


@pytest.fixture
def batcher(upstream: Upstream, alarm_clock: FakeClock) -> Batcher:
    """A batcher that posts to the upstream, under a clock that stands still."""
    batcher = Batcher.objects.get_by_name("orders")
    batcher.configure(upstream_url=upstream.url)
    return batcher


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """The channel "log", in whose place what comes is kept."""
    sent = Sent()
    monkeypatch.setitem(channels._channels, "log", sent)
    return sent


@pytest.fixture
def reminder() -> Reminder:
    """A reminder that is not set."""
    return Reminder.objects.get_by_name("tea")


@pytest.fixture
def ada() -> Recipient:
    """A recipient with a digest of an hour."""
    return Recipient.objects.create(name="ada", digest_window=timedelta(hours=1))
