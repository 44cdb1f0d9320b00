"""The consumer that goes on, beside Celery's own, which does not: a test here fails once ours is needed no more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import celery
import pytest
from celery import Celery
from celery.worker.consumer import Consumer as CelerysConsumer
from celery.worker.consumer.delayed_delivery import DelayedDelivery as CelerysDelayedDelivery
from kombu.transport.redis import Transport as Redis
from redis.exceptions import OutOfMemoryError, ReadOnlyError

from durable_objects import worker
from durable_objects.worker import BrokerRefused, Consumer, DelayedDelivery

REFUSALS = [OutOfMemoryError("OOM"), ReadOnlyError("READONLY"), RuntimeError("unknown"), AttributeError("hostname")]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Celery:
    """A Celery app that connects to nothing, and a worker that does not wait between its tries."""
    monkeypatch.setattr(worker, "SECONDS_BETWEEN_TRIES", 0)
    return Celery("refused", broker="redis://127.0.0.1:1/0", set_as_current=False)


def start(kind: type[Any], app: Celery, *happens: Exception) -> int:
    """Start a consumer whose connection fails so, once each, and then ends well; how often it started."""
    pool = SimpleNamespace(is_green=False, flush=None, num_processes=1)
    controller = SimpleNamespace(use_eventloop=False, semaphore=None)
    consumer = kind(lambda request: None, app=app, hostname="w@here", pool=pool, controller=controller)
    starts, troubles = 0, list(happens)

    def begin(parent: Any) -> None:
        nonlocal starts
        starts += 1
        consumer.connection = app.connection_for_read()
        if troubles:
            raise troubles.pop(0)
        consumer.blueprint.state = 0x2  # closing: its loop ends

    consumer.steps = [SimpleNamespace(alias="fails", start=begin)]
    consumer.start()
    return starts


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: type(refusal).__name__)
def test_celerys_own_consumer_ends_by_a_refusal_and_ours_does_not(app: Celery, refusal: Exception) -> None:
    """What is no lost connection leaves Celery's loop, which ends the worker; ours connects again."""
    with pytest.raises(type(refusal)):
        start(CelerysConsumer, app, refusal)
    assert start(Consumer, app, refusal, refusal) == 3


def test_a_lost_connection_that_cannot_be_closed(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Giving messages back over a connection that is gone may fail: Celery's own ends by it, ours does not."""

    def cannot(*args: Any) -> None:
        raise AttributeError("'NoneType' object has no attribute 'hostname'")

    monkeypatch.setattr("kombu.connection.Connection.close", cannot)
    if celery.VERSION >= (5, 7):  # older ones let it pass
        with pytest.raises(AttributeError, match="hostname"):
            start(CelerysConsumer, app, ConnectionResetError())
    assert start(Consumer, app, ConnectionResetError()) == 2


def test_a_machine_without_memory_is_no_brokers_fault(app: Celery) -> None:
    """MemoryError ends the worker: what it has left in it is not to be trusted."""
    with pytest.raises(MemoryError):
        start(Consumer, app, MemoryError())


def test_kombu_still_takes_refusals_by_redis_for_the_channels_fault() -> None:
    """Were they errors of the connection, Celery's own consumer would connect again by itself."""
    assert not issubclass(OutOfMemoryError, Redis.connection_errors)


class Timer:
    """Runs what it is given when asked to."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.calls: list[tuple[Any, Any]] = []

    def call_after(self, wait: float, call: Any, args: Any) -> object:
        self.waits.append(wait)
        self.calls.append((call, args))
        return len(self.calls)

    def cancel(self, entry: object) -> None:
        self.calls.clear()

    def fire(self) -> None:
        call, args = self.calls.pop()
        call(*args)


def consumer_of(app: Celery) -> Any:
    """What a step is given."""
    return SimpleNamespace(app=app, timer=Timer())


def test_delayed_delivery_is_tried_until_it_works(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery's own gives up for the life of the worker; ours comes again after 1, 2, 4 … 60 s."""
    monkeypatch.undo()
    refused = 8

    def make(connection: Any, app: Any) -> None:
        nonlocal refused
        refused -= 1
        if refused >= 0:
            raise BrokerRefused("not yet")

    consumer = consumer_of(app)
    monkeypatch.setattr(worker, "_make_it_delay", make)
    step = DelayedDelivery(consumer)
    step.start(consumer)
    while consumer.timer.calls:
        consumer.timer.fire()
    assert consumer.timer.waits == [1, 2, 4, 8, 16, 32, 60, 60]

    celerys = consumer_of(app)
    monkeypatch.setattr(CelerysDelayedDelivery, "_setup_delayed_delivery", lambda *args: 1 / 0)
    CelerysDelayedDelivery(celerys).start(celerys)
    assert celerys.timer.waits == []


def test_a_connection_that_is_gone_is_not_set_up(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped with its connection, the next try is not made beside that of the next connection."""
    consumer = consumer_of(app)
    monkeypatch.setattr(worker, "_make_it_delay", lambda *args: 1 / 0)
    step = DelayedDelivery(consumer)
    step.stop(consumer)
    step.start(consumer)
    step.stop(consumer)
    assert consumer.timer.calls == []
