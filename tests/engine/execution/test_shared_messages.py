"""Alarms that share a message: each runs in its own transaction, and none waits behind a neighbour."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from durable_objects import AlarmInfo, GiveUp, tasks
from durable_objects.delivery import dispatcher, publisher
from durable_objects.errors import AlarmTimeLimitExceeded
from durable_objects.execution import shared_messages
from durable_objects.execution.executor import fire
from durable_objects.execution.groups import fire_group
from durable_objects.execution.shared_messages import Outcome, fire_each
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.operations import pauses
from durable_objects.tables import Alarm, AlarmRun, Object
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at
from tests.engine.execution.conftest import LIMIT, NAMES, Alarms, Messages, count, runs
from tests.models import Counter, Note, Script, Scripted
from tests.support.database_sessions import waiting
from tests.support.threads import InThread, await_event, await_that

pytestmark = pytest.mark.django_db(transaction=True)

needs_postgresql = pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite has one lock for all")


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine nothing is slow but what is meant to be."""
    monkeypatch.setattr(shared_messages, "SLOW_AFTER_SECONDS", 5.0)


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the next one on, an alarm is slow after the usual time."""
    monkeypatch.setattr(shared_messages, "SLOW_AFTER_SECONDS", 0.05)


def in_b(
    oddly: Callable[[Any], object], first: Callable[[], object] = lambda: None
) -> Callable[[Any, AlarmInfo], None]:
    """A handler that does what all do, something else first in "a", and something odd in "b"."""

    def alarm(obj: Any, info: AlarmInfo) -> None:
        count(obj, info)
        if obj.name == "a":
            first()
        if obj.name == "b":
            oddly(obj)

    return alarm


def slot(name: str) -> Alarm:
    """The alarm of this object, as stored."""
    return Alarm.objects.get(object__name=name)


def deliver(messages: Messages) -> int:
    """Run what was published, as workers do; return how many messages it were."""
    taken = list(messages)
    messages.clear()
    for message in taken:
        if len(message) > 1:
            fire_each([(each.object_id, each.wake_up_number, each.kind_id or 0) for each in message], LIMIT)
        else:
            fire(message[0].object_id, message[0].wake_up_number, kind_id=message[0].kind_id, rescue=message[0].rescue)
    return len(taken)


def test_each_runs_in_a_transaction_of_its_own(alarms: Alarms, script: Script, messages: Messages) -> None:
    """They run in the order of the message, each committed before the next begins; a second delivery does nothing."""
    committed: list[tuple[str, int]] = []

    def alarm(obj: Any, info: AlarmInfo) -> None:
        count(obj, info)
        committed.append((obj.name, AlarmRun.objects.count()))

    script.alarm = alarm
    assert fire_each(alarms, LIMIT) == Outcome(4, [])
    assert committed == [("a", 0), ("b", 1), ("c", 2), ("d", 3)]
    assert runs() == dict.fromkeys(NAMES, 1)
    assert not Alarm.objects.exclude(state="idle").exists()
    assert fire_each(alarms, LIMIT) == Outcome(0, [])
    assert messages == []


def test_each_is_picked_up_when_its_turn_comes(alarms: Alarms, script: Script) -> None:
    """What an alarm waits behind its neighbours counts as time in the queue, not as time for its lock."""
    script.alarm = lambda obj, info: time.sleep(0.1)
    fire_each(alarms, LIMIT)
    picked_up = list(AlarmRun.objects.order_by("id").values_list("picked_up_at", "started_at"))
    assert all(later[0] - earlier[0] > timedelta(seconds=0.09) for earlier, later in pairwise(picked_up))


def test_slow_neighbour_hands_the_rest_on(
    alarms: Alarms, script: Script, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is slow, those behind it are sent on and run elsewhere; it goes on, and counts once."""
    elsewhere: list[Any] = []

    def wait_for_the_rest(obj: Any) -> None:
        await_that(lambda: len(messages) == 2)
        if connection.vendor != "sqlite":
            elsewhere.append(InThread(lambda: deliver(messages)).result())

    script.alarm = in_b(wait_for_the_rest, first=lambda: hurry(monkeypatch))
    assert fire_each(alarms, LIMIT).ran == 2
    deliver(messages)
    assert runs() == dict.fromkeys(NAMES, 1)
    assert elsewhere == ([] if connection.vendor == "sqlite" else [2])


def test_one_that_releases_its_object_hands_the_rest_on(
    alarms: Alarms, script: Script, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``unlocked()`` is for slow work: nobody waits for it, however short it has been until then."""
    monkeypatch.setattr(shared_messages, "SLOW_AFTER_SECONDS", 3600.0)

    def unlock(obj: Any) -> None:
        with obj.unlocked():
            await_that(lambda: len(messages) == 2)

    script.alarm = in_b(unlock)
    assert fire_each(alarms, LIMIT).ran == 2
    assert sorted(messages.alone()) == sorted(object_id for object_id, _, _ in alarms[2:])
    deliver(messages)
    assert runs() == dict.fromkeys(NAMES, 1)


def test_what_is_handed_on_goes_in_few_messages(script: Script, messages: Messages) -> None:
    """However many wait behind a slow one, they are sent on in a few messages; what waits behind a slow one there comes
    alone, so that nobody waits behind more than two.
    """
    with FakeClock():  # which publishes nothing
        Scripted.objects.set_alarms({str(number): timedelta(0) for number in range(publisher.MOST_PER_MESSAGE)})
    Alarm.objects.update(wake_up_number=1)
    sent = list(Alarm.objects.order_by("pk").values_list("pk", "wake_up_number", "kind_id"))
    sizes: list[set[int]] = []

    def unlock(obj: Any, info: AlarmInfo) -> None:
        with obj.unlocked():
            await_that(lambda: sum(map(len, messages)) == len(sent) - 1)

    script.alarm = unlock
    while len(sent) > 1:
        assert fire_each(sent, LIMIT).ran == 1
        sizes.append(set(map(len, messages)))
        sent = [(each.object_id, each.wake_up_number, each.kind_id or 0) for each in max(messages, key=len)]
        messages.clear()
    assert sizes == [{12, 3}, {1}]


def test_one_that_fails_is_counted_and_retried_alone(alarms: Alarms, script: Script, messages: Messages) -> None:
    """What it wrote is undone, its retry comes after 2, 4 … s as one of Celery's, and its neighbours run."""

    def fail(obj: Any) -> None:
        raise ValueError("b")

    script.alarm = in_b(fail)
    assert fire_each(alarms, LIMIT) == Outcome(4, [])
    assert runs() == {"a": 1, "b": 0, "c": 1, "d": 1}
    assert (slot("b").state, slot("b").retry_count, slot("b").crashed_starts) == ("armed", 1, 0)
    ((retry,),) = messages
    assert (retry.object_id, retry.wake_up_number, retry.retries) == (*alarms[1][:2], 1)
    assert timedelta(seconds=1) < slot("b").due_at - AlarmRun.objects.get(outcome="failed").ended_at  # type: ignore[operator]  # it is armed
    assert retry.at - slot("b").due_at < timedelta(seconds=1)  # type: ignore[operator]  # likewise


def test_one_that_dies_is_reported(alarms: Alarms, script: Script, messages: Messages) -> None:
    """An alarm of which no run is left is dead, its neighbours run, and the message's task learns of it."""

    def give_up(obj: Any) -> None:
        raise GiveUp("enough")

    script.alarm = in_b(give_up)
    outcome = fire_each(alarms, LIMIT)
    assert (outcome.ran, [object_id for object_id, _ in outcome.dead]) == (4, [alarms[1][0]])
    assert (slot("b").state, runs(), messages) == ("dead", {"a": 1, "b": 0, "c": 1, "d": 1}, [])


@pytest.mark.parametrize("point", ["firing.before_handler", "firing.after_handler", "turn.before_commit"])
def test_one_that_kills_its_worker_takes_no_neighbour_along(
    alarms: Alarms, script: Script, messages: Messages, point: str
) -> None:
    """Those that have not begun are as they were, without a crashed start, and the dispatcher wakes them alone."""

    def die(obj: Any) -> None:
        crash.__enter__()

    crash = crash_at("firing.after_handler" if point == "firing.before_handler" else point)
    script.alarm = in_b(die)
    try:
        with pytest.raises(SimulatedCrash):
            fire_each(alarms, LIMIT)
    finally:
        crash.__exit__(None, None, None)
    assert runs() == {"a": 1, "b": 0, "c": 0, "d": 0}
    assert set(Alarm.objects.filter(state="armed").values_list("retry_count", "crashed_starts")) == {(0, 0)}
    assert messages == []
    Alarm.objects.filter(state="armed").update(wake_up_for="2020-01-01T00:00:00Z")
    assert dispatcher.run_pass().rescued == 3
    script.alarm = count
    assert deliver(messages) == 3
    assert runs() == dict.fromkeys(NAMES, 1)
    assert set(Alarm.objects.values_list("state", "crashed_starts")) == {("idle", 0)}


def test_what_ends_the_message_with_an_error_sends_the_rest_on(
    alarms: Alarms, script: Script, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that breaks in the middle costs the neighbours nothing: they are sent on."""

    def broken(*args: Any, **options: Any) -> Any:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(shared_messages, "fire", broken)
    with pytest.raises(OperationalError):
        fire_each(alarms, LIMIT)
    assert sorted(messages.alone()) == sorted(object_id for object_id, _, _ in alarms[1:])


def test_neighbours_that_were_paused_moved_cancelled_or_deleted_do_not_run(
    alarms: Alarms, script: Script, messages: Messages
) -> None:
    """Each is judged when its turn comes, not when the message came."""

    def change(obj: Any, info: AlarmInfo) -> None:
        count(obj, info)
        if obj.name == "a":
            transaction.on_commit(change_the_others)

    def change_the_others() -> None:
        pauses.pause(Scripted.objects.get_by_name("b"))
        Scripted.objects.get_by_name("c").storage.set_alarm(timedelta(hours=1))
        Scripted.objects.get_by_name("d").storage.delete_alarm()

    script.alarm = change
    assert fire_each(alarms, LIMIT).ran == 1
    assert runs() == {"a": 1, "b": 0, "c": 0, "d": 0}
    assert [slot(name).state for name in NAMES] == ["idle", "armed", "armed", "idle"]
    assert slot("b").wake_up_for is None
    Scripted.objects.get_by_name("d").delete()
    assert fire_each(alarms, LIMIT).ran == 0


def test_moved_a_little_it_waits_without_its_neighbours(alarms: Alarms, script: Script, messages: Messages) -> None:
    """One that has become early waits for its time, never early; what waits behind it for long is sent on."""
    Scripted.objects.get_by_name("b").storage.set_alarm(timedelta(seconds=0.5))
    messages.clear()
    fire_each(alarms, LIMIT)
    deliver(messages)
    assert runs() == dict.fromkeys(NAMES, 1)
    assert all(run.started_at >= run.due_at for run in AlarmRun.objects.all())


@needs_postgresql
def test_locked_neighbour_is_waited_for_by_nobody_else(
    alarms: Alarms, script: Script, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose object somebody has is put off, uncounted; those behind it are sent on meanwhile."""
    script.alarm = in_b(lambda obj: None, first=lambda: hurry(monkeypatch))
    locked, release = threading.Event(), threading.Event()
    holder = Scripted.objects.get_by_name("b")

    def keep() -> None:
        locked.set()
        await_event(release)

    keeper = InThread(lambda: holder.run_exclusive(keep))
    await_event(locked)
    try:
        assert fire_each(alarms, LIMIT).ran == 1
    finally:
        release.set()
    keeper.result()
    by_object = {message[0].object_id: message[0] for message in messages}
    assert by_object.keys() == {object_id for object_id, _, _ in alarms[1:]}
    assert (by_object[alarms[1][0]].waits, by_object[alarms[2][0]].waits) == (1, 0)
    assert (slot("b").retry_count, slot("b").crashed_starts) == (0, 0)


@needs_postgresql
def test_deadlock_in_the_middle_is_uncounted(alarms: Alarms, script: Script, messages: Messages) -> None:
    """One that the database made give way comes again, uncounted, and its neighbours run."""
    first, second = (Note.objects.create(text=text) for text in ("first", "second"))
    has_second = threading.Event()

    def touch(note: Note) -> None:
        Note.objects.filter(pk=note.pk).update(text=f"{note.text} again")

    def other_way_round() -> None:
        with transaction.atomic():
            touch(second)
            has_second.set()
            await_that(waiting())  # whoever waits for longer notices, and gives way
            touch(first)

    def one_way(obj: Any) -> None:
        touch(first)
        other.append(InThread(other_way_round))
        await_event(has_second)
        touch(second)

    other: list[InThread[None]] = []
    script.alarm = in_b(one_way)
    assert fire_each(alarms, LIMIT).ran == 3
    other[0].result()
    assert runs() == {"a": 1, "b": 0, "c": 1, "d": 1}
    assert (slot("b").state, slot("b").retry_count, slot("b").crashed_starts) == ("armed", 0, 0)
    assert [wake_up.waits for (wake_up,) in messages] == [1]


def test_time_limit_is_that_of_each_run(
    alarms: Alarms, script: Script, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run over its class's limit has failed; the time of its neighbours is their own."""
    monkeypatch.setattr(Scripted, "alarm_time_limit", timedelta(seconds=1))

    def alarm(obj: Any, info: AlarmInfo) -> None:
        time.sleep(1.2 if obj.name == "b" else 0.1)
        count(obj, info)

    script.alarm = alarm
    assert fire_each(alarms, LIMIT).ran == 4
    assert runs() == {"a": 1, "b": 0, "c": 1, "d": 1}
    assert AlarmTimeLimitExceeded.__name__ in AlarmRun.objects.get(outcome="failed").error


def test_old_worker_wakes_each_alone(alarms: Alarms, script: Script, messages: Messages) -> None:
    """A worker that takes every such message for a group runs none of it, and wakes each by itself."""
    assert fire_group([(object_id, number) for object_id, number, _ in alarms], LIMIT) == 0
    assert sorted(messages.alone()) == sorted(object_id for object_id, _, _ in alarms)
    deliver(messages)
    assert runs() == dict.fromkeys(NAMES, 1)


def test_kind_in_the_message_is_checked(alarms: Alarms, script: Script) -> None:
    """A wake-up that names another class, or none that there is, runs its object as what it is."""
    other = Counter.kind_pk()
    Counter.objects.get_by_name("a").add()
    assert fire(alarms[0][0], alarms[0][1], kind_id=other).verdict is Verdict.SUCCEEDED
    assert fire(alarms[1][0], alarms[1][1], kind_id=2**40).verdict is Verdict.SUCCEEDED
    assert runs() == {"a": 1, "b": 1, "c": 0, "d": 0}
    Object.objects.filter(pk=alarms[2][0]).update(name="no\0name" if connection.vendor == "sqlite" else "c" * 512)
    fired = fire(*alarms[2][:2], kind_id=alarms[2][2])
    assert fired.verdict is (Verdict.AGAIN if connection.vendor == "sqlite" else Verdict.SUCCEEDED)


def test_the_task_says_of_one_that_died_what_a_message_of_its_own_would(
    alarms: Alarms, script: Script, messages: Messages
) -> None:
    """All run by the header's kinds; then it has failed as expected: nobody reports more than the engine has."""

    def give_up(obj: Any) -> None:
        raise GiveUp("enough")

    script.alarm = in_b(give_up)
    tasks.fire_alarms.push_request(**{tasks.KINDS: [kind_id for *_, kind_id in alarms]})
    try:
        with pytest.raises(tasks.AlarmDied, match="enough"):
            tasks.fire_alarms.run([pair for *pair, _ in alarms], LIMIT.total_seconds())
    finally:
        tasks.fire_alarms.pop_request()
    assert runs() == {"a": 1, "b": 0, "c": 1, "d": 1}
    assert tasks.AlarmDied in tasks.fire_alarms.throws
