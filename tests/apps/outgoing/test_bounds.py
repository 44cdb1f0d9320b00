"""The one way out: whatever a call does, it is over at its deadline, and threads are left for others."""

from __future__ import annotations

import gc
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections

from batcher.models import Batch, Batcher
from batcher.models import Upstream as Breaker
from durable_objects import process
from durable_objects.outgoing import DeadlinePassed, TooManyCalls, bounded, deadline
from durable_objects.outgoing.concurrency import Places
from durable_objects.testing import FakeClock
from reminders.models import Delivery, Recipient, Reminder
from tests.support.passing_time import follow, outcomes, pass_time
from tests.support.upstream import Upstream

SHORT = timedelta(seconds=0.2)
SECOND = timedelta(seconds=1)
PATIENCE = 10.0


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch) -> Places:
    """Each test has places of its own, in a process whose number of threads is not known."""
    places = Places()
    monkeypatch.setattr(deadline, "places", places)
    monkeypatch.setattr(process, "threads", None)
    return places


@pytest.fixture
def mail_that_drips(settings: Any) -> Iterator[None]:
    """A mail server that says its greeting a byte at a time, for ever."""
    server = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=drip, args=(connection,), daemon=True).start()

    def drip(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            for _ in range(1000):
                if over.wait(0.02):
                    return
                connection.send(b"2")

    threading.Thread(target=serve, daemon=True).start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.getsockname()[1]
    yield
    over.set()
    server.close()


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for the condition; fails the test after PATIENCE."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def wait_until_ended(places: Places) -> None:
    """Wait until no call is under way; what those that were interrupted left to the collector is collected."""
    wait_until(lambda: not places.since)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@contextmanager
def held(*origins: str) -> Iterator[None]:
    """Calls to these, under way until the block ends."""
    over = threading.Event()
    with ExitStack() as stack:
        for origin in origins:
            is_there = threading.Event()
            call = threading.Thread(
                target=bounded,
                args=(origin, 30 * SECOND, lambda call, is_there=is_there: is_there.set() or over.wait()),
            )
            call.start()
            stack.callback(call.join, PATIENCE)
            assert is_there.wait(PATIENCE)
        stack.callback(over.set)
        yield


def test_what_it_returns_or_raises() -> None:
    """A call that is over in time is as if it were made here."""
    assert bounded("there", SECOND, lambda call: 7) == 7
    with pytest.raises(ZeroDivisionError):
        bounded("there", SECOND, lambda call: 1 // 0)


@pytest.mark.slow
def test_a_call_that_goes_on_is_left_and_ended(places: Places) -> None:
    """The caller has its thread back at the deadline; the call is interrupted, also while it cleans up, and then gives
    its place back.
    """
    ended = threading.Event()

    def work(call: Any) -> None:
        try:
            while True:
                with suppress(Exception):
                    time.sleep(0.01)
        finally:
            try:
                while True:
                    time.sleep(0.01)
            finally:
                ended.set()

    began = time.monotonic()
    with pytest.raises(DeadlinePassed, match=r"there: not done within 0\.2 s"):
        bounded("there", SHORT, work)
    assert time.monotonic() - began < 2
    assert "there" in places.since
    assert ended.wait(PATIENCE)
    wait_until(lambda: not places.since)


@pytest.mark.slow
def test_a_call_is_not_interrupted_while_it_gives_its_place_back(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a call has opened is closed, and its place free, however long that takes after its deadline."""
    steps: list[str] = []

    def close_slowly() -> None:
        steps.append("begun")
        end = time.monotonic() + 4 * deadline.GRACE_SECONDS
        while time.monotonic() < end:
            time.sleep(0.01)
        steps.append("ended")

    monkeypatch.setattr(connections, "close_all", close_slowly)
    with pytest.raises(DeadlinePassed):
        bounded("there", SHORT, lambda call: time.sleep(0.3))
    wait_until(lambda: not places.since)
    assert steps == ["begun", "ended"]


@pytest.mark.slow
@pytest.mark.django_db
def test_a_mail_server_that_drips_is_left(
    reminder: Reminder, alarm_clock: FakeClock, mail_that_drips: None, settings: Any, places: Places
) -> None:
    """DEADLINE is for all of a mail; each byte is in time, all of them are not."""
    settings.REMINDERS = {"EMAIL_TO": ["a@example.org"], "DEADLINE": SHORT}
    reminder.set_reminder("tea", alarm_clock.now(), channels=["email"])
    began = time.monotonic()
    assert outcomes(alarm_clock) == ["failed"]
    assert time.monotonic() - began < 5
    assert "not done within 0.2 s" in Delivery.objects.get().error
    wait_until_ended(places)


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the modules that Apprise loads
def test_a_service_of_apprise_that_drips_is_left(
    reminder: Reminder, alarm_clock: FakeClock, dripping: str, settings: Any, places: Places
) -> None:
    """DEADLINE is for all that Apprise does."""
    settings.REMINDERS = {"APPRISE": {"phones": dripping.replace("http:", "json:")}, "DEADLINE": SHORT}
    reminder.set_reminder("tea", alarm_clock.now(), channels=["apprise:phones"])
    began = time.monotonic()
    assert outcomes(alarm_clock) == ["failed"]
    assert time.monotonic() - began < 5
    assert "not done within 0.2 s" in Delivery.objects.get().error
    wait_until_ended(places)


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("channel", ["email", "webhook", "apprise:phones"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the modules that Apprise loads
def test_each_channel_waits_for_a_place(
    reminder: Reminder, alarm_clock: FakeClock, settings: Any, channel: str
) -> None:
    """Where slow servers hold their share of the threads, no channel takes another one, fails, or counts a try."""
    url = "http://127.0.0.1:9/"
    settings.REMINDERS = {"APPRISE": {"phones": url.replace("http:", "json:")}, "EMAIL_TO": ["a@example.org"]}
    Recipient.objects.create(name="ada", webhook_url=url, webhook_secret="whsec_" + "c2VjcmV0LW9mLXRoZS10ZXN0cy1vbmx5")
    reminder.set_reminder("tea", alarm_clock.now(), channels=[channel], person="ada")
    with held("a", "b", "c", "d"):
        assert outcomes(alarm_clock) == ["succeeded"]
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.attempts, reminder.get_reminder() is not None) == ("pending", 0, True)


@pytest.mark.slow
@pytest.mark.django_db
def test_a_batch_waits_for_a_place(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """Where there is none no try counts, no breaker opens and no batch is given up, however often that is."""
    batcher.configure(give_up_after=timedelta(0), max_retries=0)
    batcher.add_item("a")
    with held("a", "b", "c", "d"):
        pass_time(alarm_clock, 10 * SECOND)
        for _ in range(8):
            follow(alarm_clock, batcher, alarm_clock.now() + 20 * SECOND)
            assert (Batch.objects.get().status, Batch.objects.get().attempts) == ("open", 0)
    follow(alarm_clock, batcher, alarm_clock.now() + 20 * SECOND)
    assert (Batch.objects.get().status, Batch.objects.get().attempts, upstream.items) == ("delivered", 1, ["a"])
    assert [(each.state, each.failures) for each in Breaker.objects.all()] == [("closed", 0)]


@pytest.mark.slow
def test_hosts_that_were_quick_hold_no_more_than_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of a worker's threads stays free, also when hosts that answered at once all stop doing so."""
    monkeypatch.setattr(process, "threads", 8)
    hosts = [f"host {number}" for number in range(8)]
    for host in hosts:
        bounded(host, SECOND, lambda call: None)
    with held(*hosts[:6]), pytest.raises(TooManyCalls):
        bounded(hosts[6], SECOND, lambda call: None)
    monkeypatch.setattr(process, "threads", 2)
    with held("one"), pytest.raises(TooManyCalls):
        bounded(hosts[7], SECOND, lambda call: None)


def test_those_who_wait_for_a_place_leave_threads_too(monkeypatch: pytest.MonkeyPatch, places: Places) -> None:
    """One waits a while for a slow host's place, but never so that those who have one and those who wait take all."""
    monkeypatch.setattr(process, "threads", 8)
    monkeypatch.setattr("durable_objects.outgoing.concurrency.QUICK", PATIENCE)
    replies: list[str] = []

    def call(number: int) -> None:
        try:
            replies.append(bounded(f"host {number}", SECOND, lambda call: "served"))
        except TooManyCalls:
            replies.append("turned away")

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    with held("a", "b", "c", "d"):
        for thread in threads:
            thread.start()
        wait_until(lambda: places.waiting + len(replies) == 4)
        assert (places.waiting, replies) == (2, ["turned away"] * 2)
    for thread in threads:
        thread.join(PATIENCE)
    assert replies == ["turned away", "turned away", "served", "served"]


@pytest.mark.slow
def test_those_turned_away_come_again_one_after_the_other() -> None:
    """However many are turned away at once, no more than two a second come again."""
    with held("a", "b", "c", "d"):
        after = []
        for number in range(50):
            with pytest.raises(TooManyCalls) as busy:
                bounded(f"host {number}", SECOND, lambda call: None)
            after.append(busy.value.after.total_seconds())
    assert min(after) == pytest.approx(5, abs=0.1)
    assert max(after) > 5 + 49 * 0.5 - 2


@pytest.mark.django_db
def test_many_addresses_take_no_longer_than_a_run_may(
    reminder: Reminder, alarm_clock: FakeClock, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those for which there was no time are tried soon after, before those that were."""
    people = [f"p{number}@example.org" for number in range(5)]
    settings.REMINDERS = {"EMAIL_TO": people}
    monkeypatch.setattr("reminders.delivery.AT_ONCE_SECONDS", -1)
    reminder.set_reminder("tea", alarm_clock.now(), channels=["email"])
    assert outcomes(alarm_clock) == ["succeeded"]
    assert not Delivery.objects.exists()
    monkeypatch.setattr("reminders.delivery.AT_ONCE_SECONDS", 60)
    assert outcomes(alarm_clock, 5 * SECOND) == ["succeeded"]
    assert sorted(Delivery.objects.values_list("address", flat=True)) == people
