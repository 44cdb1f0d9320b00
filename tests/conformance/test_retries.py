"""What happens after a run that failed: the ladder, what counts, and what comes after the last retry."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import IntegrityError

from durable_objects import AlarmInfo
from durable_objects.models import AlarmRun
from durable_objects.tasks import AlarmDied, fire_alarm
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at, run_due_alarms
from tests.conformance.behaviour import behaviour
from tests.conformance.scenes import HOUR, LADDER, LEASE, NOW, SECOND, Boom, again, climb, fail, outcomes, slot
from tests.models import Note, Script, Scripted

pytestmark = pytest.mark.django_db


@pytest.fixture
def failing(clock: FakeClock, obj: Scripted, script: Script) -> Scripted:
    """An object whose alarm is due and will fail."""
    script.alarm = fail
    obj.storage.set_alarm(NOW)
    return obj


def crash(rescue: bool = False) -> None:
    """The worker that runs the only alarm dies in it."""
    with crash_at("firing.before_handler"), pytest.raises(SimulatedCrash):
        fire_alarm(slot().pk, None, rescue)


@behaviour("DO-43", "run n fails: the next comes 2 s x 2^(n-1) later, plus 0 to 25 %, never earlier")
def test_do_43_the_ladder(clock: FakeClock, failing: Scripted) -> None:
    """The pauses are 2, 4, 8, 16, 32, 64 s, from the end of each failed run; here with nothing added."""
    runs = climb(clock)
    assert [later.started_at - earlier.ended_at for earlier, later in pairwise(runs)] == LADDER


@behaviour(
    "DO-44",
    "at most 6 counted retries, 7 runs in all; then the alarm is dropped without a word",
    differs="7 runs, but nothing is dropped: the alarm stays as a dead row with its traceback, `alarm_died()` is "
    "called, and it can be revived (`manage.py alarms revive`, the admin)",
)
def test_do_44_seven_runs_then_a_dead_row(clock: FakeClock, failing: Scripted, script: Script) -> None:
    """After the seventh failure the object learns of it and the alarm is kept, with what was raised."""
    assert outcomes(climb(clock)) == ["failed"] * 6 + ["dead"]
    assert [info.retry_count for info in script.infos] == [0, 1, 2, 3, 4, 5, 6]
    assert [str(error) for error in script.deaths] == ["run 6"]
    assert slot().state == "dead"
    assert "run 6" in slot().last_error


@behaviour(
    "DO-45", "counted: a throw, a constructor's too, or overrun time; not counted: trouble of the infrastructure"
)
def test_do_45_what_counts(
    clock: FakeClock, failing: Scripted, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler or ``initialize()`` that raises and one that takes too long count; a worker's death does not."""
    crash()
    assert slot().retry_count == 0
    run_due_alarms()
    assert slot().retry_count == 1
    clock.advance(2 * SECOND)
    script.initialize = lambda obj: fail(obj, script.infos[-1])
    run_due_alarms()
    assert slot().retry_count == 2
    clock.advance(4 * SECOND)
    script.initialize, script.alarm = (lambda obj: None), (lambda obj, info: None)
    monkeypatch.setattr(Scripted, "alarm_time_limit", timedelta(microseconds=1))
    run_due_alarms()
    assert slot().retry_count == 3


@behaviour("C19", "broken infrastructure alone: not counted")
def test_c19_a_lost_worker_is_not_counted(clock: FakeClock, failing: Scripted) -> None:
    """Whenever in the run the worker is lost, the count stays."""
    for point in ("firing.before_handler", "firing.after_handler", "turn.before_commit"):
        failing.script.alarm = lambda obj, info: None
        with crash_at(point), pytest.raises(SimulatedCrash):
            run_due_alarms()
        assert slot().retry_count == 0


@behaviour("C20", "overrun time that broke the infrastructure: counted")
@behaviour("C21", "a user's error that broke the infrastructure: counted")
@behaviour("S25", "the end of a run settles its alarm also where its output is broken")
@pytest.mark.parametrize("limit", [timedelta(microseconds=1), HOUR], ids=["too long", "in time"])
def test_c20_a_broken_transaction_is_counted(
    clock: FakeClock, failing: Scripted, script: Script, monkeypatch: pytest.MonkeyPatch, *, limit: timedelta
) -> None:
    """A handler that goes on after the database refused a statement has failed, in time or not, and is retried."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.put("k", 1)
        with suppress(IntegrityError):
            Note.objects.create(text="taken")

    Note.objects.create(text="taken")
    script.alarm = alarm
    monkeypatch.setattr(Scripted, "alarm_time_limit", limit)
    assert outcomes(run_due_alarms()) == ["failed"]
    assert (slot().state, slot().retry_count, slot().due_at) == ("armed", 1, clock.now() + 2 * SECOND)
    assert failing.storage.list() == {}


@behaviour("C22", "infrastructure intact: always counted")
def test_c22_an_ordinary_error_is_counted(clock: FakeClock, failing: Scripted) -> None:
    """What a handler raises counts, whatever kind of ``Exception`` it is."""
    kinds: list[Callable[[], Exception]] = [Boom, KeyError, TimeoutError, lambda: OSError(24, "files")]
    for count, kind in enumerate(kinds, start=1):

        def alarm(obj: Scripted, info: AlarmInfo, kind: Callable[[], Exception] = kind) -> None:
            raise kind()

        failing.script.alarm = alarm
        assert outcomes(run_due_alarms()) == ["failed"]
        assert slot().retry_count == count
        clock.advance(timedelta(seconds=2**count))


@behaviour(
    "DO-46",
    "uncounted failures only: retried without limit, at most 1,024 s apart",
    differs="rescued after the lease (60 s), and dead after ten runs in a row that took their worker down: something "
    "in it kills workers. Look for the reason, then revive it",
)
@behaviour("S60", "100 uncounted failures, and it is still set", differs="ten, as DO-46")
@behaviour("C11", "the same in its older storage", differs="ten, as DO-46")
def test_do_46_ten_crashes_in_a_row(clock: FakeClock, failing: Scripted, script: Script) -> None:
    """Nine runs that end with their worker change nothing; after the tenth the alarm is dead and says why."""
    for crashes in range(1, 11):
        crash(rescue=True)
        assert (slot().state, slot().retry_count, slot().crashed_starts) == ("armed", 0, crashes)
        clock.advance(LEASE)
    with pytest.raises(AlarmDied, match="took its worker down 10 times"):
        fire_alarm(slot().pk, None, True)
    assert "took its worker down 10 times" in slot().last_error
    assert script.infos == []


@behaviour(
    "DO-47",
    "a counted failure after uncounted ones waits 2 s; after 6 counted ones any failure drops the alarm",
    differs="the pause goes by counted failures alone, and only a counted one makes it dead; nothing to do",
)
def test_do_47_crashes_and_failures_mixed(clock: FakeClock, failing: Scripted) -> None:
    """Crashes before and between failures neither lengthen a pause nor use up a retry."""
    for pause in LADDER:
        crash()
        run_due_alarms()
        assert slot().due_at == clock.now() + pause
        clock.advance(pause)
    crash()
    assert (slot().state, slot().retry_count) == ("armed", 6)
    assert outcomes(run_due_alarms()) == ["dead"]


@behaviour(
    "DO-48",
    "a constructor that throws at a wake-up is retried and not counted, for ever",
    differs="`initialize()` is part of the run: counted, and dead after the seventh; revive it once it is mended",
)
def test_do_48_initialize_that_raises(clock: FakeClock, failing: Scripted, script: Script) -> None:
    """A failing ``initialize()`` is retried on the ladder, and its handler never called."""

    def initialize(obj: Scripted) -> None:
        raise Boom

    script.initialize = initialize
    assert outcomes(climb(clock)) == ["failed"] * 6 + ["dead"]
    assert script.infos == []


@behaviour(
    "DO-49",
    "`setAlarm(B)` in the handler and then a throw: no retry, B is next, with a count of 0, so for ever",
    differs="the set of a run that raises never was: it is retried and dies like any other. To let it stand, set it "
    "inside `with self.unlocked():`; to go on after the last failure, in `alarm_died()`",
)
def test_do_49_set_then_raise(clock: FakeClock, failing: Scripted, script: Script) -> None:
    """A handler that re-arms itself before it raises is counted; one that does so while unlocked is not retried."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        if info.retry_count < 3:
            obj.storage.set_alarm(30 * SECOND)
        else:
            with obj.unlocked():
                obj.storage.set_alarm(HOUR)
        raise Boom

    script.alarm = alarm
    climb(clock)
    assert [info.retry_count for info in script.infos] == [0, 1, 2, 3]
    at = failing.storage.get_alarm()
    assert at is not None
    script.alarm = lambda obj, info: None
    clock.move_to(at)
    assert [run.retry_count for run in run_due_alarms()] == [0]


@behaviour("DO-50", "a throw before the handler's own `setAlarm`: an ordinary retry")
def test_do_50_raise_then_set(clock: FakeClock, failing: Scripted, script: Script) -> None:
    """A handler that sets its next alarm last is retried until it gets there."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        if info.retry_count < 2:
            raise Boom
        obj.storage.set_alarm(HOUR)

    script.alarm = alarm
    assert outcomes(climb(clock)) == ["failed", "failed", "succeeded"]
    last = AlarmRun.objects.latest("pk")
    assert failing.storage.get_alarm() == last.started_at + HOUR


@behaviour("DO-53", "the last retry fails while a newer alarm is in the slot: that stays, and will run")
@behaviour("S61", "giving up does nothing when a newer alarm has come")
@behaviour("C12", "the same in its older storage")
def test_do_53_a_newer_alarm_outlives_the_last_failure(clock: FakeClock, failing: Scripted, script: Script) -> None:
    """What others set during the last run stands; nothing is dead, and it starts with a count of 0."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        if info.retry_count == 6:
            with obj.unlocked():
                again().storage.set_alarm(HOUR)
        raise Boom

    script.alarm = alarm
    assert outcomes(climb(clock)) == ["failed"] * 7
    assert (slot().state, failing.storage.get_alarm()) == ("armed", clock.now() + HOUR)
    assert script.deaths == []
    clock.advance(HOUR)
    assert [run.retry_count for run in run_due_alarms()] == [0]
