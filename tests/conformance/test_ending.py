"""Runs that are ended, or that end what they were for: over their time, given up, overtaken by a newer alarm."""

from __future__ import annotations

from datetime import timedelta

import pytest

from durable_objects import AlarmInfo, AlarmTimeLimitExceeded, GiveUp
from durable_objects.testing import FakeClock, run_due_alarms
from tests.conformance.behaviour import behaviour
from tests.conformance.scenes import HOUR, NOW, SECOND, Boom, again, climb, outcomes, slot
from tests.models import Script, Scripted

pytestmark = pytest.mark.django_db


@pytest.fixture
def due(clock: FakeClock, obj: Scripted) -> Scripted:
    """An object whose alarm is due."""
    obj.storage.set_alarm(NOW)
    return obj


@behaviour("DO-51", "a run of 15 minutes is cut off and counted as failed")
def test_do_51_a_run_over_its_time_has_failed(due: Scripted, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past ``alarm_time_limit`` (15 minutes, or the class's own) the next storage call raises, and the run counts."""
    refused = []

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        try:
            obj.storage.put("too", "late")
        except AlarmTimeLimitExceeded as error:
            refused.append(error)

    assert due.alarm_time_limit == timedelta(minutes=15)
    script.alarm = alarm
    monkeypatch.setattr(Scripted, "alarm_time_limit", timedelta(microseconds=1))
    [run] = run_due_alarms()
    assert len(refused) == 1
    assert run.outcome == "failed"
    assert "AlarmTimeLimitExceeded" in run.error
    assert due.storage.list() == {}
    assert slot().retry_count == 1


@behaviour(
    "DO-52",
    "`ctx.abort()` in a run: reset, retried, counted; with `retryAlarm: false` the alarm is dropped",
    differs="there is no abort: raise, which undoes the run, is counted and retried. To end without a retry raise "
    "`GiveUp(reason)`: the alarm is dead, and can be revived; or return; or delete the alarm inside "
    "`with self.unlocked():` and raise, which is on record as failed",
)
@behaviour(
    "C17",
    "an abort with `retryAlarm: false`: one run, no retry, the slot is cleared",
    differs="as DO-52: `GiveUp`, or delete while unlocked and then raise",
)
def test_do_52_giving_up_without_a_retry(clock: FakeClock, due: Scripted, script: Script) -> None:
    """A run that deleted its alarm while unlocked and then raises is the only one, and is on record."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.put("k", 1)
        with obj.unlocked():
            obj.storage.delete_alarm()
        obj.storage.put("k", 2)
        raise Boom

    script.alarm = alarm
    runs = climb(clock)
    assert outcomes(runs) == ["failed"]
    assert "Boom" in runs[0].error
    assert due.storage.list() == {"k": 1}
    assert due.storage.get_alarm() is None
    assert slot().state == "idle"
    script.alarm = give_up
    due.storage.set_alarm(NOW)
    assert outcomes(climb(clock)) == ["dead"]
    assert (slot().state, slot().last_error, due.storage.list()) == ("dead", "no use", {"k": 1})


def give_up(obj: Scripted, info: AlarmInfo) -> None:
    """A handler that asks for no retry."""
    obj.storage.put("k", 3)
    raise GiveUp("no use")


@behaviour("C18", "an alarm that was set while the drop is under way is kept and runs")
def test_c18_an_alarm_set_while_giving_up_is_kept(clock: FakeClock, due: Scripted, script: Script) -> None:
    """What another call sets after the run gave up stands when the run ends."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        if len(script.infos) > 1:
            return
        with obj.unlocked():
            obj.storage.delete_alarm()
            again().storage.set_alarm(HOUR)
        raise Boom

    script.alarm = alarm
    assert outcomes(run_due_alarms()) == ["failed"]
    clock.advance(HOUR)
    assert [(run.outcome, run.retry_count) for run in run_due_alarms()] == [("succeeded", 0)]


@behaviour("S62", "giving up where no alarm is stored does nothing")
@behaviour("C13", "the same in its older storage; a time that is not committed is never reported")
def test_s62_the_last_failure_of_a_deleted_alarm(clock: FakeClock, due: Scripted, script: Script) -> None:
    """Deleted by others during the last run, the alarm is not dead but gone; what the run itself set never was."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        if info.retry_count == 6:
            obj.storage.set_alarm(HOUR)
            with obj.unlocked():
                again().storage.delete_alarm()
        raise Boom

    script.alarm = alarm
    assert outcomes(climb(clock)) == ["failed"] * 7
    assert (slot().state, due.storage.get_alarm()) == ("idle", None)
    assert script.deaths == []


@behaviour("S63", "giving up while the handler runs does nothing")
def test_s63_nothing_is_dead_before_the_last_run_has_ended(clock: FakeClock, due: Scripted, script: Script) -> None:
    """In its last run the alarm is running, not dead, and one that ends well is no failure."""
    seen = []

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        if info.retry_count < 6:
            raise Boom
        with obj.unlocked():
            seen.append((slot().state, again().storage.get_alarm()))

    script.alarm = alarm
    assert outcomes(climb(clock)) == ["failed"] * 6 + ["succeeded"]
    assert seen == [("armed", None)]
    assert (slot().state, script.deaths) == ("idle", [])


@behaviour(
    "DO-60",
    "`setAlarm` in the handler, of the very time that is running: taken for no change, and never fires again",
    differs="each set in a run is a new alarm, and runs",
)
def test_do_60_the_running_time_set_again(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A handler that sets the time it runs for, or now, is called again."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        if len(script.infos) < 4:
            obj.storage.set_alarm(info.scheduled_at if len(script.infos) % 2 else NOW)

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    assert outcomes(run_due_alarms()) == ["succeeded"] * 4
    assert obj.storage.get_alarm() is None


@behaviour("R1", "the published batcher loses what is added while its upload is under way")
def test_r1_what_comes_in_during_the_upload_is_kept(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A handler that takes its keys, uploads unlocked and deletes just these loses nothing, nor the new alarm."""
    uploaded: list[list[str]] = []

    def add(key: str) -> None:
        with again().storage.transaction():
            obj.storage.put(key, key)
            if obj.storage.get_alarm() is None:
                obj.storage.set_alarm(10 * SECOND)

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        batch = list(obj.storage.list())
        with obj.unlocked():
            uploaded.append(batch)
            if len(uploaded) == 1:
                add("b")
        obj.storage.delete_many(batch)

    script.alarm = alarm
    add("a")
    clock.advance(10 * SECOND)
    assert outcomes(run_due_alarms()) == ["succeeded"]
    assert obj.storage.list() == {"b": "b"}
    assert obj.storage.get_alarm() == clock.now() + 10 * SECOND
    clock.advance(10 * SECOND)
    run_due_alarms(raise_errors=True)
    assert uploaded == [["a"], ["b"]]
    assert obj.storage.list() == {}
