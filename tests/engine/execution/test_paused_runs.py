"""What becomes of wake-ups while their object is paused: none runs, none is published in vain, none is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from durable_objects import AlarmInfo
from durable_objects.delivery import dispatcher, publisher
from durable_objects.execution.executor import fire
from durable_objects.execution.firing import Firing
from durable_objects.execution.groups import fire_group
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.operations import pauses
from durable_objects.tables import Alarm, AlarmRun, Pause
from durable_objects.turns.turn import Turn
from tests.models import Grouped, Script, Scripted
from tests.support.threads import InThread

pytestmark = pytest.mark.django_db(transaction=True)

WhatOf = Callable[[Scripted], pauses.What]
each_scope = pytest.mark.parametrize(
    "scope", [lambda obj: None, lambda obj: Scripted, lambda obj: obj], ids=["everything", "class", "object"]
)


@pytest.fixture
def woken(obj: Scripted, published: list[publisher.WakeUp]) -> publisher.WakeUp:
    """The wake-up of an alarm that is due: in the broker."""
    obj.storage.set_alarm(timedelta(0))
    (wake_up,) = published
    published.clear()
    return wake_up


def slot() -> Alarm:
    return Alarm.objects.get(object__name="a")


@each_scope
def test_a_wake_up_that_was_out_is_refused(
    scope: WhatOf, obj: Scripted, woken: publisher.WakeUp, published: list[publisher.WakeUp], script: Script
) -> None:
    """One that comes out of the broker during the pause runs nothing, uncounted; another is sent after it."""
    pauses.pause(scope(obj))
    fired = fire(woken.object_id, woken.wake_up_number)
    assert (fired.verdict, fired.delay) == (Verdict.DROPPED, None)
    assert (slot().state, slot().wake_up_for, slot().retry_count, slot().crashed_starts) == ("armed", None, 0, 0)
    assert dispatcher.run_pass().published == 0
    assert (published, script.infos, AlarmRun.objects.count()) == ([], [], 0)
    pauses.resume(scope(obj))
    assert dispatcher.run_pass().published == 1
    (again,) = published
    assert fire(again.object_id, again.wake_up_number).verdict is Verdict.SUCCEEDED
    assert fire(woken.object_id, woken.wake_up_number).verdict is Verdict.DROPPED, "the first one has come back"
    assert len(script.infos) == 1


@each_scope
def test_one_that_is_lost_is_not_sent_again_before_the_end(
    scope: WhatOf, obj: Scripted, woken: publisher.WakeUp, published: list[publisher.WakeUp]
) -> None:
    """A wake-up that got lost is left alone while paused, also as a probe for a consumer, and sent again afterwards."""
    pauses.pause(scope(obj))
    Alarm.objects.update(wake_up_for=F("wake_up_for") - timedelta(hours=1))
    assert dispatcher.run_pass().published == 0
    pauses.resume(scope(obj))
    assert dispatcher.run_pass().published == 1
    assert published[0].rescue


def test_what_is_paused_takes_no_capacity(
    obj: Scripted, woken: publisher.WakeUp, published: list[publisher.WakeUp], settings: Any
) -> None:
    """Lost wake-ups of what is paused do not keep others from being sent, however few may be out."""
    settings.DURABLE_OBJECTS = {**settings.DURABLE_OBJECTS, "MAX_OUT": 2}
    Scripted.objects.set_alarms(dict.fromkeys(["lost", "b", "c"], timedelta(0)))
    published.clear()
    for name in ("a", "lost"):
        pauses.pause(Scripted.objects.get_by_name(name))
    Alarm.objects.filter(object__name__in=["a", "lost"]).update(wake_up_for=F("wake_up_for") - timedelta(hours=1))
    waiting = Alarm.objects.filter(object__name__in=["b", "c"])
    waiting.update(wake_up_for=None)
    assert dispatcher.run_pass().published == 2
    assert {one.object_id for one in published} == set(waiting.values_list("pk", flat=True))


def test_a_rescue_and_a_retry_are_refused(obj: Scripted, woken: publisher.WakeUp, script: Script) -> None:
    """Neither a rescue, which would take a lease, nor Celery's own retry of a failed run starts anything."""

    def fail(one: Any, info: AlarmInfo) -> None:
        raise ValueError("no")

    script.alarm = fail
    assert fire(woken.object_id, woken.wake_up_number).verdict is Verdict.FAILED
    Alarm.objects.update(due_at=F("due_at") - timedelta(seconds=2))
    pauses.pause(Scripted)
    for rescue in (False, True):
        assert fire(woken.object_id, woken.wake_up_number, rescue=rescue).verdict is Verdict.DROPPED
    assert (slot().leased_until, slot().retry_count, slot().crashed_starts, len(script.infos)) == (None, 1, 0, 1)
    pauses.resume(Scripted)
    assert fire(woken.object_id, slot().wake_up_number).verdict is Verdict.FAILED
    assert [info.retry_count for info in script.infos] == [0, 1]


def test_a_pause_between_lease_and_run_is_seen(
    obj: Scripted, woken: publisher.WakeUp, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rescue that has its lease and is then held up does not start in a pause that began meanwhile."""
    whole = Firing._take_lease

    def take_lease(self: Firing) -> Any:
        fired = whole(self)
        pauses.pause(None)
        return fired

    monkeypatch.setattr(Firing, "_take_lease", take_lease)
    assert fire(woken.object_id, woken.wake_up_number, rescue=True).verdict is Verdict.DROPPED
    assert (slot().leased_until, slot().wake_up_for, slot().crashed_starts, script.infos) == (None, None, 0, [])


def test_an_alarm_in_a_pause_is_published_once_at_most(
    obj: Scripted, woken: publisher.WakeUp, published: list[publisher.WakeUp]
) -> None:
    """A call that sets an alarm does not know of the pause: its one wake-up is refused, and not sent again at once."""
    pauses.pause(None)
    obj.storage.set_alarm(timedelta(seconds=0))
    for wake_up in [woken, *published]:
        fire(wake_up.object_id, wake_up.wake_up_number)
    sent = len(published)
    fire(woken.object_id)
    assert (len(published), dispatcher.run_pass().published, slot().wake_up_for) == (sent, 0, None)


def test_members_of_a_group_are_refused_one_by_one(
    script: Script, published: list[publisher.WakeUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a message for many, those that are paused stay behind, unsent, and the others run."""
    Grouped.objects.set_alarms(dict.fromkeys("abcd", timedelta(0)))
    message = [(one.object_id, one.wake_up_number) for one in published]
    published.clear()
    for name in "bc":
        pauses.pause(Grouped.objects.get_by_name(name))
    assert fire_group(message, timedelta(minutes=1)) == 2
    armed = Alarm.objects.filter(state="armed").order_by("object__name")
    assert list(armed.values_list("object__name", "wake_up_for")) == [("b", None), ("c", None)]
    pauses.pause(Grouped)
    assert fire_group(message, timedelta(minutes=1)) == 0
    assert published == []


def test_only_runs_ask_for_pauses(obj: Scripted, script: Script, published: list[publisher.WakeUp]) -> None:
    """A call makes no statement more and none longer for pauses; a run reads them in the message that locks."""
    obj.storage.set_alarm(timedelta(0))
    (wake_up,) = published
    with connection.execute_wrapper(lambda execute, *rest: execute(*rest)):
        connection.force_debug_cursor = True
        connection.queries_log.clear()
        obj.storage.put("k", 1)
        assert Pause._meta.db_table not in str(connection.queries_log)
        connection.queries_log.clear()
        fire(wake_up.object_id, wake_up.wake_up_number)
        asked = [query["sql"] for query in connection.queries_log if Pause._meta.db_table in query["sql"]]
        connection.force_debug_cursor = False
    assert len(asked) == 1
    assert Alarm._meta.db_table in asked[0]


def test_pauses_that_ended_are_forgotten(obj: Scripted, clock: Any) -> None:
    """The dispatcher deletes their rows in passing."""
    pauses.pause(None, until=timedelta(seconds=1))
    pauses.pause(Scripted, until=timedelta(days=1))
    clock.advance(timedelta(seconds=1))
    dispatcher.run_pass()
    assert list(Pause.objects.values_list("scope", flat=True)) == ["class"]


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one lock for all")
def test_no_run_slips_between_pause_and_drain(obj: Scripted, woken: publisher.WakeUp, script: Script) -> None:
    """A run that has the lock when the pause commits is seen by ``running`` until it ends, wherever it is just then."""
    seen: list[int] = []
    whole = Turn.start

    def start(self: Turn) -> None:  # between the read of the pauses and the handler
        if not seen:
            pauses_beside()
        whole(self)

    def pauses_beside() -> None:
        def beside() -> int:
            pauses.pause(Scripted)
            return pauses.running(Scripted).number

        seen.append(InThread(beside).result())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Turn, "start", start)
        assert fire(woken.object_id, woken.wake_up_number).verdict is Verdict.SUCCEEDED
    assert seen == [1]
    assert pauses.running(Scripted).number == 0
