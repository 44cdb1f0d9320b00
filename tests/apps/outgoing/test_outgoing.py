"""What goes out to other people's servers: bounded in time, in what comes back, and in the threads that wait for it."""

from __future__ import annotations

import gzip
import queue
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from datetime import timedelta
from typing import Any

import httpx
import pytest

from durable_objects import outgoing
from durable_objects.outgoing import DeadlinePassed, Reply, TooManyCalls, deadline
from durable_objects.outgoing.concurrency import Places
from durable_objects.testing import FakeClock
from reminders.models import Delivery, Reminder
from tests.support.passing_time import outcomes
from tests.support.upstream import Answer, Upstream

SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS10ZXN0cy1vbmx5"
SECOND = timedelta(seconds=1)
MEGABYTE = 1_000_000


@pytest.fixture(autouse=True)
def _nobody_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has places of its own."""
    monkeypatch.setattr(deadline, "places", Places())


@pytest.fixture
def silent() -> Iterator[list[str]]:
    """A hundred receivers that take a connection and never say a word."""
    with ExitStack() as stack:
        servers = [stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(100)]
        yield [f"http://127.0.0.1:{server.getsockname()[1]}/" for server in servers]


def post(url: str, *, deadline: timedelta = 2 * SECOND, read_bytes: int = 1000) -> Reply:
    return outgoing.post(url, b"{}", headers={}, timeout=deadline, deadline=deadline, read_bytes=read_bytes)


@pytest.mark.parametrize(
    ("encoding", "body", "start", "whole"),
    [
        ("gzip", gzip.compress(b"thanks"), b"thanks", True),
        ("gzip", gzip.compress(bytes(20 * MEGABYTE)), bytes(1000), False),
        ("gzip", gzip.compress(b"thanks")[:-4], b"thanks", False),
        ("gzip", b"no gzip", b"", False),
        ("gzip, gzip", gzip.compress(gzip.compress(bytes(20 * MEGABYTE))), b"", False),
        ("br", b"anything", b"", False),
        ("identity", bytes(MEGABYTE), bytes(1000), False),
    ],
    ids=["packed", "a bomb", "cut off", "no gzip", "packed twice", "unknown", "long"],
)
def test_an_answer_takes_no_more_memory_than_is_read_of_it(
    upstream: Upstream, encoding: str, body: bytes, start: bytes, *, whole: bool
) -> None:
    """One layer is unpacked, no further than it is read; of what is packed otherwise nothing is read."""
    upstream.script(Answer(200, headers={"Content-Encoding": encoding}, body=body))
    tracemalloc.start()
    reply = post(upstream.url, deadline=10 * SECOND)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (reply.status, reply.start.strip(b"\0"), reply.whole) == (200, start.strip(b"\0"), whole)
    assert len(reply.start) == len(start)
    assert peak < 8 * MEGABYTE
    assert upstream.received[0].headers["accept-encoding"] == "identity"


def test_a_receiver_that_drips_is_left(dripping: str) -> None:
    """Each byte is in time, all of them are not: the deadline ends the call."""
    began = time.monotonic()
    with pytest.raises((httpx.HTTPError, DeadlinePassed)):
        outgoing.post(dripping, b"", headers={}, timeout=5 * SECOND, deadline=SECOND / 5, read_bytes=10)
    assert time.monotonic() - began < 4


@pytest.mark.slow
def test_a_host_holds_a_share_of_the_threads(silent: list[str], upstream: Upstream) -> None:
    """Four threads may wait for one host; the fifth is sent away within a second or so, and others are served."""
    with _waiting(silent[:1] * 4):
        with pytest.raises(TooManyCalls, match="occupy as many threads"):
            post(silent[0])
        with pytest.raises(TooManyCalls):
            post(silent[1])  # slow hosts share their places: nobody knows yet whether this one is quick
    post(upstream.url)
    with _waiting(silent[:4]):
        assert post(upstream.url).status == 200  # has answered in time, so it has a place of its own


def test_those_who_wait_for_a_quick_host_get_their_turn(upstream: Upstream) -> None:
    """More calls at once than there are places are no reason to send one away, where each is over in no time."""
    upstream.default = Answer(200, delay=0.05)
    answers: queue.SimpleQueue[int] = queue.SimpleQueue()
    threads = [
        threading.Thread(target=lambda: answers.put(post(upstream.url, deadline=9 * SECOND).status)) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers.qsize() == 12


@pytest.mark.slow
def test_a_hundred_silent_receivers_and_eight_threads(silent: list[str]) -> None:
    """Whatever a hundred of them hold up, a job that goes nowhere else never waits for a deadline (measured: 0.9 s)."""
    jobs: queue.SimpleQueue[str | float | None] = queue.SimpleQueue()
    waits: list[float] = []

    def work() -> None:
        while (job := jobs.get()) is not None:
            if isinstance(job, float):
                waits.append(time.monotonic() - job)
                continue
            with suppress(TooManyCalls, DeadlinePassed, httpx.HTTPError):
                post(job, deadline=4 * SECOND)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
    for url in silent[:24]:
        jobs.put(url)
    for thread in threads:
        thread.start()
    for url in silent[24:]:
        jobs.put(url)
        time.sleep(0.05)
        jobs.put(time.monotonic())
    for _ in threads:
        jobs.put(None)
    for thread in threads:
        thread.join(30)
    print(f"\nthe longest wait of {len(waits)} other jobs: {max(waits):.2f} s")
    assert len(waits) == 76
    assert max(waits) < 4


@pytest.mark.django_db
def test_a_reminder_without_a_thread_to_spare_is_not_a_failed_one(
    reminder: Reminder, alarm_clock: FakeClock, upstream: Upstream, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at again after 5 seconds as often as need be, without a retry or a try on record, and then goes."""
    settings.REMINDERS = {"WEBHOOK_URL": upstream.url, "WEBHOOK_SECRET": SECRET}
    real, left = outgoing.post, [TooManyCalls("none")] * 9

    def busy(*args: Any, **kwargs: Any) -> Reply:
        if left:
            raise left.pop()
        return real(*args, **kwargs)

    monkeypatch.setattr(outgoing, "post", busy)
    reminder.set_reminder("tea", alarm_clock.now(), channels=["webhook"])
    assert outcomes(alarm_clock) == ["succeeded"]
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.attempts, reminder.get_reminder() is not None) == ("pending", 0, True)
    for _ in range(9):
        assert outcomes(alarm_clock, 5 * SECOND) == ["succeeded"]
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts, len(upstream.received)) == ("delivered", 1, 1)


@pytest.mark.django_db
def test_a_webhook_that_drips_is_ended(
    reminder: Reminder, alarm_clock: FakeClock, dripping: str, settings: Any
) -> None:
    """DEADLINE is for all of a webhook, however the receiver lets its answer drip; it is tried again."""
    settings.REMINDERS = {"WEBHOOK_URL": dripping, "WEBHOOK_SECRET": SECRET, "DEADLINE": SECOND / 5}
    reminder.set_reminder("tea", alarm_clock.now(), channels=["webhook"])
    began = time.monotonic()
    assert outcomes(alarm_clock) == ["failed"]
    assert time.monotonic() - began < 10


class _waiting:  # noqa: N801  used as a word in `with`
    """Threads that wait for these addresses, for long enough to be slow ones; ended with the block's deadline."""

    def __init__(self, urls: list[str]) -> None:
        self._threads = [threading.Thread(target=self._wait, args=(url,), daemon=True) for url in urls]

    @staticmethod
    def _wait(url: str) -> None:
        with suppress(httpx.HTTPError, DeadlinePassed):
            post(url, deadline=4 * SECOND)

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()
        time.sleep(1.1)

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join(10)
