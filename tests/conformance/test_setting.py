"""Setting an alarm: which times are taken, and who may."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from durable_objects import AlarmHandlerMissing, InvalidAlarmTime
from durable_objects.models import Object
from durable_objects.testing import FakeClock, run_due_alarms
from tests.conformance.behaviour import behaviour
from tests.conformance.scenes import HOUR, NOW, SECOND, climb, outcomes, slot
from tests.models import Counter, Script, Scripted

pytestmark = pytest.mark.django_db


def refused(obj: Scripted, *times: Any) -> None:
    """Each of the times is a TypeError, and changes nothing."""
    before = obj.storage.get_alarm()
    for when in times:
        with pytest.raises(InvalidAlarmTime) as caught:
            obj.storage.set_alarm(when)
        assert isinstance(caught.value, TypeError)
    assert obj.storage.get_alarm() == before


@behaviour(
    "DO-1",
    "`setAlarm(t)` with a Date or a number of ms: the slot is t",
    differs="a number does not say its unit, so it is refused; give an aware `datetime`, or a `timedelta` from now",
)
def test_do_1_an_aware_time_or_a_span_is_kept(clock: FakeClock, obj: Scripted) -> None:
    """The slot is the moment that was given, whatever its time zone; a span counts from now; a number is refused."""
    at = clock.now() + HOUR
    obj.storage.set_alarm(at.astimezone(timezone(timedelta(hours=5, minutes=30))))
    assert obj.storage.get_alarm() == at
    obj.storage.set_alarm(2 * HOUR)
    assert obj.storage.get_alarm() == clock.now() + 2 * HOUR
    refused(obj, at.timestamp() * 1000, int(at.timestamp()))


@behaviour(
    "DO-2",
    "a fraction of a millisecond is cut off",
    differs="microseconds are kept, as everywhere in Python; nothing to do",
)
def test_do_2_microseconds_are_kept(clock: FakeClock, obj: Scripted) -> None:
    """A time comes back to the microsecond."""
    at = clock.now() + timedelta(seconds=60, microseconds=700)
    obj.storage.set_alarm(at)
    assert obj.storage.get_alarm() == at


@behaviour(
    "DO-3",
    "text, NaN, an infinity, an invalid Date, a time after the year 2189: TypeError",
    differs="the last year is 9999, Python's own; the rest is refused alike, and so is a naive `datetime`",
)
def test_do_3_what_is_no_time_is_refused(clock: FakeClock, obj: Scripted) -> None:
    """What names no moment is an ``InvalidAlarmTime``, which is a TypeError; the year 9999 is the last."""
    refused(obj, "2030-01-01T00:00:00Z", "5", float("nan"), float("inf"), None, True, date(2030, 1, 1))
    refused(obj, datetime(2030, 1, 1), timedelta.max)  # noqa: DTZ001  naive is what is refused
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    obj.storage.set_alarm(last)
    assert obj.storage.get_alarm() == last
    refused(obj, last.replace(tzinfo=timezone(-HOUR)))


@behaviour("DO-4", "the epoch, or a time before it: TypeError")
def test_do_4_the_epoch_and_before_are_refused(clock: FakeClock, obj: Scripted) -> None:
    """No alarm can be set to 1970 or earlier."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    refused(obj, epoch, epoch - SECOND, timedelta(days=-40_000))
    assert not Object.objects.exists()


@behaviour("DO-5", "a time that is over is raised to now: `getAlarm()` answers about now, and it runs at once")
def test_do_5_a_past_time_means_now(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """What was set to the past reads as now, and runs with that as its time."""
    for when in (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), -HOUR):
        obj.storage.set_alarm(when)
        assert obj.storage.get_alarm() == clock.now()
        assert outcomes(run_due_alarms()) == ["succeeded"]
        assert script.infos.pop().scheduled_at == clock.now()


@behaviour("DO-6", "`setAlarm` on a class without `alarm()`: TypeError, nothing is stored")
def test_do_6_a_class_without_a_handler_sets_no_alarm() -> None:
    """The call is refused in words, with no row made."""
    counter = Counter.objects.get_by_name("a")
    with pytest.raises(TypeError, match=r"has no alarm\(\)"):
        counter.storage.set_alarm(HOUR)
    assert not Object.objects.exists()


@behaviour(
    "DO-7",
    "the same in the constructor is accepted; when it is due: a warning, no run, no retry, the slot is cleared",
    differs="`initialize()` is refused like any code, at once; an alarm whose class lost its `alarm()` since is not "
    "cleared but fails, is retried and then kept as dead: define the method again and revive it",
)
def test_do_7_nor_does_its_initialize(
    clock: FakeClock, obj: Scripted, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``initialize()`` gets the error too; an alarm set before the handler was taken away is kept."""
    monkeypatch.setattr(Counter, "initialize", lambda self: self.storage.set_alarm(HOUR))
    with pytest.raises(AlarmHandlerMissing):
        Counter.objects.get_by_name("a").add()
    assert Counter.objects.get_by_name("a").storage.list() == {}

    obj.storage.set_alarm(NOW)
    monkeypatch.delattr(Scripted, "alarm")
    runs = climb(clock)
    assert outcomes(runs) == ["failed"] * 6 + ["dead"]
    assert "AlarmHandlerMissing" in runs[-1].error
    assert slot().state == "dead"


@behaviour("DO-8", "`getAlarm()` and `deleteAlarm()` need no handler: null, and nothing to do")
def test_do_8_reading_and_deleting_need_no_handler() -> None:
    """On a class without ``alarm()`` there is no alarm to be read, and deleting it does nothing."""
    counter = Counter.objects.get_by_name("a")
    assert counter.storage.get_alarm() is None
    counter.storage.delete_alarm()
    assert counter.storage.get_alarm() is None
