"""What is sent of a class with limits: as many as have a place, each for its moment, and nothing in vain."""

from __future__ import annotations

import queue
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from durable_objects import AlarmInfo
from durable_objects.alarms import limits
from durable_objects.conf import engine
from durable_objects.database import clock as engine_clock
from durable_objects.delivery import claims, dispatcher, limited, publisher
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.operations import actions
from durable_objects.tables import Alarm, AlarmRun, Object
from tests.models import Grouped, Once, Script, Scripted
from tests.support.limited_alarms import Limiting, due
from tests.support.threads import InThread

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timedelta(0)


def times(published: list[publisher.WakeUp], since: datetime) -> list[float]:
    """When these were sent for, in seconds."""
    return [(one.at - since).total_seconds() for one in published]


def test_the_dispatcher_sends_what_has_a_place(
    limit: Limiting, script: Script, published: list[publisher.WakeUp]
) -> None:
    """Of a backlog, as many as may start until the pass after the next, each for its own moment; none twice."""
    limit(rate=2)
    due(*(f"o{number:02}" for number in range(30)))
    published.clear()
    before = engine_clock.now()
    dispatcher.run_pass()
    found = times(published, before)
    assert len(found) == 2 * 2 * engine.DISPATCH_EVERY.total_seconds() + 1
    assert all(abs(at - number / 2) < 0.5 for number, at in enumerate(found))
    assert {one.object_id: one.at for one in published} == dict(
        Alarm.objects.exclude(wake_up_for=None).values_list("pk", "wake_up_for")
    )
    dispatcher.run_pass()
    assert len(published) == len(found)


def test_one_query_tells_that_no_class_has_anything_to_send(
    limit: Limiting, script: Script, published: list[publisher.WakeUp]
) -> None:
    """However many classes set limits, a pass asks once for all of them; of those that have something, as ever."""
    limit(concurrency=2)
    now = engine_clock.now()
    sent = claims.sent_kinds(now)
    assert len(limits.limited(sent)) > 1
    with CaptureQueriesContext(connection) as queries:
        assert limited.claim(now, sent) == []
    assert len(queries) == 1
    due("a", "b", "c")
    assert len(limited.claim(engine_clock.now(), sent)) == 2


def test_many_classes_that_are_full_cost_no_more_queries_than_one(
    limit: Limiting, script: Script, published: list[publisher.WakeUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Places and wake-ups are counted for all classes at once; one that has no place for an alarm is asked no more."""
    limit(concurrency=1)
    monkeypatch.setattr(Once, "alarm_concurrency", 1)
    due("a", "b")
    Once.objects.set_alarms(dict.fromkeys("cd", NOW))
    running = Object.objects.filter(name__in="ac").values("pk")
    Alarm.objects.update(wake_up_for=None)
    Alarm.objects.filter(pk__in=running).update(leased_until=engine_clock.now() + timedelta(hours=1))
    counts = []
    for classes in ([Scripted], [Scripted, Once]):
        with CaptureQueriesContext(connection) as queries:
            assert limited.claim(engine_clock.now(), {each.kind_pk(): each for each in classes}) == []
        counts.append(len(queries) - sum("clock_timestamp" in each["sql"][:30] for each in queries))
    assert counts[0] == counts[1] > 3


def test_the_dispatcher_sends_as_many_as_may_run(
    limit: Limiting, script: Script, published: list[publisher.WakeUp]
) -> None:
    """With places for two, two are out; a class without limits is sent as ever beside it."""
    limit(concurrency=2)
    due("a", "b", "c", "d")
    Grouped.objects.set_alarms(dict.fromkeys("xyz", NOW))
    Alarm.objects.update(wake_up_for=None)
    published.clear()
    for _ in range(2):
        dispatcher.run_pass()
    sent = [Object.objects.get(pk=one.object_id).name for one in published]
    assert sorted(sent) == ["a", "b", "x", "y", "z"]


def test_nobody_who_consumes_floods_no_broker(
    limit: Limiting, script: Script, published: list[publisher.WakeUp]
) -> None:
    """While no worker takes anything, passes send no more than have a place, however long that lasts."""
    limit(concurrency=2)
    due(*"abcdef")
    published.clear()
    for _ in range(5):
        dispatcher.run_pass()
        Alarm.objects.filter(wake_up_for__isnull=False).update(wake_up_for=F("wake_up_for") - timedelta(seconds=12))
    assert len({one.object_id for one in published}) == 2


def test_a_lost_one_is_sent_again(limit: Limiting, script: Script, published: list[publisher.WakeUp]) -> None:
    """A wake-up that a worker took along is sent again under its number, as of any class."""
    limit(concurrency=1)
    due("a")
    published.clear()
    dispatcher.run_pass()
    Alarm.objects.update(wake_up_for=F("wake_up_for") - timedelta(seconds=12))
    dispatcher.run_pass()
    first, again = published
    assert (again.object_id, again.wake_up_number, again.rescue) == (first.object_id, first.wake_up_number, True)


def test_calls_on_what_waits_send_nothing(limit: Limiting, script: Script, published: list[publisher.WakeUp]) -> None:
    """Only a call that sets the alarm sends a wake-up, or an operator who fires it: what waits is the dispatcher's."""
    limit(concurrency=1)
    due("a")
    published.clear()
    obj = Scripted.objects.get_by_name("a")
    obj.storage.put("k", 1)
    assert published == []
    actions.fire_now(obj)
    assert len(published) == 1
    Alarm.objects.update(wake_up_for=None)
    obj.storage.set_alarm(timedelta(seconds=1))
    assert len(published) == 2


class Workers:
    """Threads that take what is published, each wake-up at its time, as workers with a broker between them would."""

    def __init__(self, number: int) -> None:
        self._queue: queue.Queue[publisher.WakeUp | None] = queue.Queue()
        self._threads = [InThread(self._work) for _ in range(number)]

    def take(self, wake_up: publisher.WakeUp) -> None:
        """Have this one consumed."""
        self._queue.put(wake_up)

    def stop(self) -> None:
        """End the threads, and raise what one of them raised."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.result()

    def _work(self) -> None:
        while (one := self._queue.get()) is not None:
            time.sleep(max(0.0, (one.at - datetime.now(UTC)).total_seconds()))
            fired = fire(one.object_id, one.wake_up_number, rescue=one.rescue)
            if fired.verdict is Verdict.AGAIN and fired.delay is not None:
                self.take(replace(one, at=datetime.now(UTC) + fired.delay))


@pytest.mark.parametrize("rate", [None, 15])
def test_a_backlog_is_worked_off(
    limit: Limiting, script: Script, published: list[publisher.WakeUp], settings: Any, rate: float | None
) -> None:
    """Six workers, places for two, 16 alarms: all run once, never three at a time, without long pauses between them."""
    settings.DURABLE_OBJECTS = {**settings.DURABLE_OBJECTS, "DISPATCH_EVERY": timedelta(seconds=0.5)}
    limit(concurrency=2, rate=rate)
    going: list[str] = []
    most: list[int] = []

    def alarm(obj: Any, info: AlarmInfo) -> None:
        with obj.unlocked():
            going.append(obj.name)
            most.append(len(going))
            time.sleep(0.05)
            going.remove(obj.name)

    script.alarm = alarm
    workers = Workers(6)
    publisher.register(workers.take, lambda: False)
    Scripted.objects.set_alarms(dict.fromkeys((f"o{number:02}" for number in range(16)), NOW))
    try:
        end = time.monotonic() + 30
        while Alarm.objects.filter(state="armed").exists() and time.monotonic() < end:
            dispatcher.run_pass()
            time.sleep(0.2)
    finally:
        workers.stop()
    assert list(AlarmRun.objects.values_list("outcome", flat=True)) == ["succeeded"] * 16
    assert max(most) == 2 if rate is None else max(most) <= 2  # at this rate the one before may have ended
    assert not Alarm.objects.exclude(leased_until=None).exists()
