"""How an alarm comes to its handler: at least once, never early, after ``initialize()``, with what it is."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from durable_objects import AlarmInfo
from durable_objects.models import AlarmRun
from durable_objects.tasks import dispatch_alarms, fire_alarm
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at, run_due_alarms
from tests.conformance.behaviour import behaviour
from tests.conformance.conftest import Message
from tests.conformance.scenes import HOUR, NOW, SECOND, Boom, again, climb, fail, outcomes, slot
from tests.models import Script, Scripted

pytestmark = pytest.mark.django_db


@behaviour(
    "DO-29", "at least once: the slot is emptied when the run ended well and that is on disk; a crash repeats it"
)
@behaviour("S26", "where the commit of the deletion fails the alarm is not lost")
@pytest.mark.parametrize("point", ["firing.before_handler", "firing.after_handler", "turn.before_commit"])
def test_do_29_a_run_that_was_not_committed_is_repeated(clock: FakeClock, obj: Scripted, *, point: str) -> None:
    """A worker that dies before the commit leaves the alarm as it was, with nothing of the run; it runs again."""
    obj.script.alarm = lambda obj, info: obj.storage.put("runs", obj.storage.get("runs", 0) + 1)
    obj.storage.set_alarm(NOW)
    with crash_at(point), pytest.raises(SimulatedCrash):
        run_due_alarms()
    assert obj.storage.get_alarm() == clock.now()
    assert outcomes(run_due_alarms()) == ["succeeded"]
    assert obj.storage.get("runs") == 1


@behaviour("DO-30", "during the run the slot is hidden; a good end deletes it unless it was set or deleted meanwhile")
def test_do_30_what_others_set_meanwhile_stays(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """The good end of a run takes away the alarm that ran, and not what another call set meanwhile."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        with obj.unlocked():
            if len(script.infos) == 1:
                again().storage.set_alarm(HOUR)

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    assert outcomes(run_due_alarms()) == ["succeeded"]
    assert obj.storage.get_alarm() == clock.now() + HOUR
    clock.advance(HOUR)
    assert outcomes(run_due_alarms()) == ["succeeded"]
    assert obj.storage.get_alarm() is None


@behaviour("S19", "a run that writes nothing and ends well leaves no alarm")
@behaviour("S22", "after the end nothing brings it back")
def test_s19_a_good_end_is_the_end(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """After a good run none is set, and a further wake-up finds nothing to do."""
    obj.storage.set_alarm(NOW)
    pk = slot().pk
    assert fire_alarm(pk) == "succeeded"
    assert obj.storage.get_alarm() is None
    assert (fire_alarm(pk), fire_alarm(pk, None, True)) == ("dropped", "dropped")
    assert obj.storage.get_alarm() is None
    assert len(script.infos) == 1


@behaviour("DO-31", "the handler called `setAlarm(B)` and returned: B stays and will run, A is gone")
@behaviour("S20", "what a handler set is not cleared by its end")
def test_do_31_a_handler_sets_the_next_alarm(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A handler that sets its alarm again is called again at that time, as a new alarm."""
    script.alarm = lambda obj, info: obj.storage.set_alarm(HOUR)
    obj.storage.set_alarm(NOW)
    for _ in range(3):
        assert outcomes(run_due_alarms()) == ["succeeded"]
        assert obj.storage.get_alarm() == clock.now() + HOUR
        clock.advance(HOUR)
    assert [(info.retry_count, info.lateness) for info in script.infos] == [(0, NOW)] * 3


@behaviour("DO-32", "never early: a run begins when now >= t, and a wake-up that comes before waits again")
def test_do_32_never_early(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A microsecond before its time no alarm runs, whoever asks for it."""
    obj.storage.set_alarm(HOUR)
    clock.advance(HOUR - timedelta(microseconds=1))
    assert run_due_alarms() == []
    assert fire_alarm(slot().pk) == "dropped"
    assert script.infos == []
    clock.advance(timedelta(microseconds=1))
    assert outcomes(run_due_alarms()) == ["succeeded"]


@behaviour("DO-33", "usually within milliseconds; it may be late")
def test_do_33_a_late_run_says_so(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """An alarm that nobody could run in time runs late, and its handler learns by how much."""
    obj.storage.set_alarm(SECOND)
    clock.advance(HOUR)
    assert outcomes(run_due_alarms()) == ["succeeded"]
    assert script.infos[0].lateness == HOUR - SECOND


@behaviour("DO-34", "an evicted object gets a new instance, whose constructor ends before the handler starts")
def test_do_34_initialize_comes_before_the_handler(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """The handler runs on a fresh handle, whose ``initialize()`` was run, under the same lock."""
    calls = []
    obj.storage.set_alarm(NOW)
    script.initialize = lambda woken: calls.append(("initialize", woken is obj))
    script.alarm = lambda woken, info: calls.append(("alarm", woken is obj))
    run_due_alarms()
    assert calls == [("initialize", False), ("alarm", False)]


@behaviour("DO-35", "a constructor that sets an alarm without asking first puts the due run off, perhaps for ever")
def test_do_35_initialize_may_put_the_run_off(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """An ``initialize()`` that sets a later alarm at each wake-up cancels the run; guard it by ``get_alarm()``."""
    obj.storage.set_alarm(NOW)
    script.initialize = lambda obj: obj.storage.set_alarm(HOUR)
    for _ in range(3):
        assert run_due_alarms() == []
        assert obj.storage.get_alarm() == clock.now() + HOUR
        clock.advance(HOUR)
    assert script.infos == []


@behaviour("DO-36", "after a restart all pending alarms are there, and overdue ones run at once")
@behaviour("C23", "an alarm survives the restart of the server, and fires")
def test_do_36_alarms_outlive_their_process(obj: Scripted, script: Script, messages: list[Message]) -> None:
    """With no message left of it, an overdue alarm is found by the next pass of any dispatcher, and runs."""
    with FakeClock() as clock:
        clock.advance(-HOUR)
        obj.storage.set_alarm(NOW)
    assert messages == []
    dispatch_alarms()
    assert [message.deliver() for message in messages] == ["succeeded"]
    assert HOUR <= script.infos[0].lateness < 2 * HOUR


@behaviour(
    "DO-39",
    "a throw does not undo what the handler wrote before",
    differs="all of it is undone, alarm changes and own models too, up to the last `with self.unlocked():`, which "
    "commits; put that where a part shall be kept",
)
def test_do_39_a_failed_run_leaves_nothing_since_its_last_unlock(
    clock: FakeClock, obj: Scripted, script: Script
) -> None:
    """What was written before ``unlocked()`` stays, what came after is gone."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.put("before", 1)
        with obj.unlocked():
            pass
        obj.storage.put("after", 1)
        raise Boom

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    assert outcomes(run_due_alarms()) == ["failed"]
    assert obj.storage.list() == {"before": 1}


@behaviour("DO-40", "the handler gets retryCount, isRetry, and scheduledTime, which is the original one on each retry")
def test_do_40_the_handler_learns_about_its_run(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """``info`` has the count, whether it is a retry, the time that was asked for (a ``datetime``), and the lateness."""
    script.alarm = fail
    obj.storage.set_alarm(SECOND)
    asked_for = clock.now() + SECOND
    clock.advance(SECOND)
    climb(clock)
    learnt = [(info.retry_count, info.is_retry, info.scheduled_at, info.lateness) for info in script.infos]
    assert learnt == [(count, count > 0, asked_for, NOW) for count in range(7)]


@behaviour("C27", "an alarm's trace event carries the scheduled time")
@behaviour("J9", "the start event of an alarm carries the scheduled time")
def test_c27_each_run_is_on_record(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """The history has one row per run, with the time asked for, the times that it was due, started and ended."""
    script.alarm = fail
    obj.storage.set_alarm(SECOND)
    asked_for: datetime | None = obj.storage.get_alarm()
    clock.advance(3 * SECOND)
    run_due_alarms()
    [run] = AlarmRun.objects.all()
    assert (run.scheduled_at, run.due_at, run.started_at, run.ended_at) == (asked_for,) * 2 + (clock.now(),) * 2
    assert (run.outcome, run.retry_count) == ("failed", 0)
    assert "Boom" in run.error


@behaviour("DO-41", "only counted failures count: after another one the handler is called with the same retryCount")
def test_do_41_a_crash_does_not_count(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A worker that dies in the first run, or in a retry, leaves the count as it was."""
    script.alarm = fail
    obj.storage.set_alarm(NOW)
    for failures in range(3):
        script.alarm = lambda obj, info: None
        with crash_at("firing.after_handler"), pytest.raises(SimulatedCrash):
            run_due_alarms()
        script.alarm = fail
        run_due_alarms()
        assert [info.retry_count for info in script.infos] == [failures] * 2
        script.infos.clear()
        clock.advance(timedelta(seconds=2 ** (failures + 1)))


@behaviour("DO-42", "in the handler `ctx.id.name` is there if the object was made by name")
@behaviour("C16", "the stored name is back when an alarm fires")
@behaviour("J3", "the name in the handler after an eviction")
def test_do_42_the_handler_knows_its_name(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """``self.name`` in the handler is the name that the object was got by, also the longest."""
    names = ["a", "ünïcode 😀", "x" * 512]
    seen = []
    script.alarm = lambda obj, info: seen.append(obj.name)
    for name in names:
        again(name).storage.set_alarm(NOW)
        clock.advance(SECOND)
    run_due_alarms()
    assert seen == names
