"""Batcher: the circuit breaker of an upstream, shared by all batchers of it."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from batcher import circuit_breaker
from batcher.circuit_breaker import Gate
from batcher.models import Batch, Batcher
from batcher.models import Upstream as Row
from batcher.responses import Answer as Read
from batcher.responses import Verdict
from batcher.upstream import origin_of
from durable_objects import now
from durable_objects.conditions import ask
from durable_objects.testing import FakeClock
from tests.support.passing_time import follow, pass_time
from tests.support.upstream import Answer, Upstream

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
WINDOW = timedelta(seconds=10)
PAUSE = timedelta(seconds=30)
DOWN = Read(Verdict.RETRY, 503, is_down=True)
UP = Read(Verdict.DELIVERED, 200)


@pytest.fixture
def other(batcher: Batcher, upstream: Upstream) -> Batcher:
    """Another batcher of the same upstream, at another path of it."""
    other = Batcher.objects.get_by_name("other")
    other.configure(upstream_url=f"{upstream.url}/other")
    return other


def opened(upstream: Upstream, now: datetime, **columns: Any) -> Row:
    """The upstream's breaker, open since now."""
    values = {"state": "open", "failures": 5, "opened_at": now, "retry_at": now + PAUSE} | columns
    return Row.objects.update_or_create(pk=origin_of(upstream.url), defaults=values)[0]


def test_while_it_is_open_batches_wait_and_no_try_is_counted(
    batcher: Batcher, other: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """Failures of one batcher open it for all of its upstream: nothing is sealed, posted or counted until the pause
    is over, and then all that waited goes.
    """
    upstream.default = Answer(503)
    batcher.add_item("a")
    follow(alarm_clock, batcher, alarm_clock.now() + SECOND * 85)
    row = Row.objects.get()
    assert (row.state, row.failures, row.last_error, len(upstream.received)) == ("open", 5, "503", 5)
    other.configure(window=SECOND)
    other.add_item("b")
    pass_time(alarm_clock, SECOND)
    assert (len(upstream.received), Batch.objects.count(), other.queued()) == (5, 1, 1)
    assert other.get_alarm_time() == row.retry_at
    upstream.default = Answer(200)
    alarm_clock.move_to(row.retry_at or alarm_clock.now())
    pass_time(alarm_clock)
    assert upstream.received[-1].items == ["b"]
    assert (Row.objects.get().state, Row.objects.get().failures) == ("closed", 0)
    assert Batch.objects.get(batcher_id=other.pk).attempts == 1


def test_one_probe_at_a_time(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """After the pause one try goes; who comes while it is under way waits; a probe that got lost is replaced."""
    now = alarm_clock.now()
    opened(upstream, now - PAUSE)
    assert circuit_breaker.ask(upstream.url, now).is_probe
    assert circuit_breaker.ask(upstream.url, now).wait_until == now + circuit_breaker.LOOK_AGAIN
    assert Row.objects.get().state == "half_open"
    alarm_clock.advance(timedelta(minutes=1))
    assert circuit_breaker.ask(upstream.url, alarm_clock.now()).is_probe


@pytest.mark.django_db(transaction=True)
def test_one_probe_of_many_that_ask_at_once(upstream: Upstream, alarm_clock: FakeClock) -> None:
    """Several processes that find the pause over take one probe between them."""
    together = threading.Barrier(4, timeout=30)
    gates: list[Gate] = []

    def ask() -> None:
        try:
            for _ in range(10):
                together.wait()
                gates.append(circuit_breaker.ask(upstream.url, alarm_clock.now()))
                if together.wait() == 0:
                    opened(upstream, alarm_clock.now() - PAUSE)
                together.wait()
        finally:
            connection.close()

    opened(upstream, alarm_clock.now() - PAUSE)
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(gates), sum(gate.is_probe for gate in gates)) == (40, 10)


def test_a_failed_probe_doubles_the_pause(upstream: Upstream, alarm_clock: FakeClock) -> None:
    """30 s, 1, 2, 4, 5, 5 minutes; as long as Retry-After says where that is longer."""
    opened(upstream, alarm_clock.now() - PAUSE)
    pauses = []
    for _ in range(5):
        circuit_breaker.record(circuit_breaker.ask(upstream.url, alarm_clock.now()), DOWN)
        alarm_clock.move_to(at := Row.objects.get().retry_at or alarm_clock.now())
        pauses.append(at - (Row.objects.get().opened_at or at))
    gaps = [later - earlier for earlier, later in zip([timedelta(0), *pauses], pauses, strict=False)]
    assert gaps[1:] == [timedelta(minutes=minutes) for minutes in (2, 4, 5, 5)]
    asked = Read(Verdict.RETRY, 503, retry_after=timedelta(minutes=20), is_down=True)
    circuit_breaker.record(circuit_breaker.ask(upstream.url, alarm_clock.now()), asked)
    assert Row.objects.get().retry_at == alarm_clock.now() + timedelta(minutes=20)


def test_success_writes_nothing_where_nothing_failed(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """The row of a busy upstream is made by its first answer, and not written by any post after that."""
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    assert Row.objects.get().origin == origin_of(upstream.url)
    gate = circuit_breaker.ask(upstream.url, alarm_clock.now())
    with CaptureQueriesContext(connection) as asked:
        circuit_breaker.record(gate, UP)
    assert [query["sql"][:6] for query in asked.captured_queries] == ["SELECT"]


def test_what_speaks_against_an_upstream(upstream: Upstream, alarm_clock: FakeClock) -> None:
    """5xx, 429 and no answer count; a refusal or a 408 proves it alive and ends the count; silence says nothing."""
    gate = Gate(origin_of(upstream.url))
    for count in (1, 2):
        circuit_breaker.record(gate, DOWN)
        assert Row.objects.get().failures == count
    circuit_breaker.record(gate, Read(Verdict.RETRY, text="an override of its own raised"))
    assert Row.objects.get().failures == 2
    circuit_breaker.record(gate, Read(Verdict.REFUSED, 422))
    assert Row.objects.get().failures == 0


def test_nobody_listens(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """A refused connection counts too, and proves that nothing was taken."""
    upstream.close()
    batcher.configure(give_up_after=timedelta(0))
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    assert (Row.objects.get().failures, Batch.objects.get().outcome_unknown) == (1, False)


def test_a_late_failure_does_not_lengthen_the_pause(upstream: Upstream, alarm_clock: FakeClock) -> None:
    """A post that began before the breaker opened says nothing new when it fails."""
    before = opened(upstream, alarm_clock.now())
    circuit_breaker.record(Gate(before.origin), DOWN)
    after = Row.objects.get()
    assert (after.failures, after.retry_at) == (before.failures, before.retry_at)


def test_a_person_ends_the_pause(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """flush() and replay() do not wait for an open breaker: the first try goes at once, as its probe."""
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    opened(upstream, alarm_clock.now())
    batcher.add_item("b")
    batcher.flush()
    pass_time(alarm_clock)
    assert upstream.items == ["a", "b"]
    Row.objects.update(state="open", retry_at=alarm_clock.now() + PAUSE)
    batcher.replay(Batch.objects.order_by("first_item")[0].pk)
    pass_time(alarm_clock)
    assert upstream.items == ["a", "b", "a"]


def test_an_open_breaker_does_not_keep_a_batch_for_ever(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """A batch whose time is up while the breaker is open is kept as failed, with the last answer to it."""
    batcher.configure(max_retries=0, give_up_after=timedelta(minutes=1))
    upstream.script(Answer(503, body=b"maintenance"))
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    opened(upstream, alarm_clock.now(), retry_at=alarm_clock.now() + timedelta(hours=1))
    pass_time(alarm_clock, timedelta(minutes=1))
    batch = Batch.objects.get()
    assert (batch.status, batch.attempts, batch.failed_items, batch.outcome_unknown) == ("failed", 1, 1, False)
    assert "circuit breaker is open" in batch.answer
    assert "maintenance" in batch.answer


def test_switched_off(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, settings: Any) -> None:
    """With BREAKER_FAILURES 0 there is none."""
    settings.BATCHER = {"BREAKER_FAILURES": 0}
    opened(upstream, alarm_clock.now())
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    assert upstream.items == ["a"]


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://Example.com/a", "http://example.com:80"),
        ("https://user:secret@example.com/b?c", "https://example.com:443"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_what_one_breaker_stands_for(url: str, origin: str) -> None:
    """Scheme, host and port: not the path, and never a password."""
    assert origin_of(url) == origin


def test_an_alert_is_about_each_upstream_that_is_down() -> None:
    """The condition *batcher.breaker_open* names them with their last error, and holds from its number on."""
    Row.objects.create(origin="https://a.example:443", state="open", last_error="503")
    Row.objects.create(origin="https://b.example:443", state="half_open", last_error="timed out")
    Row.objects.create(origin="https://c.example:443", failures=2, last_error="503")
    found = ask("batcher.breaker_open", now())
    assert found is not None
    assert list(found.subjects.values()) == ["https://a.example:443: 503", "https://b.example:443: timed out"]
    assert ask("batcher.breaker_open", now(), at_least=3) is None
