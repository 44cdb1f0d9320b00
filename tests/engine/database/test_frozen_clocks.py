"""Other libraries freeze Python's clocks in users' tests: no run fails by that, and their datetimes are times."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest

from durable_objects import AlarmInfo, InvalidAlarmTime, InvalidValue
from durable_objects.database import clock
from durable_objects.tables import AlarmRun
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Script, Scripted

pytestmark = pytest.mark.django_db

NOW = timedelta(0)
REAL_DATETIME, REAL_DATE = datetime, date
FROZEN_AT = datetime(2031, 3, 1, 9, 0, tzinfo=UTC)


class _StandsIn(type):
    def __instancecheck__(cls, obj: object) -> bool:
        return isinstance(obj, REAL_DATETIME if issubclass(cls, REAL_DATETIME) else REAL_DATE)


class FakeDate(date, metaclass=_StandsIn):
    """What such a library puts in the place of ``date``."""


class FakeDatetime(datetime, metaclass=_StandsIn):
    """What such a library puts in the place of ``datetime``: takes plain ones for its own."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> FakeDatetime:
        return cls.fromtimestamp(FROZEN_AT.timestamp(), tz)


@contextmanager
def frozen() -> Iterator[None]:
    """As freezegun does it: the functions of ``time``, and every module's names of those and of ``datetime``."""
    fakes: dict[int, Any] = {id(datetime): FakeDatetime, id(date): FakeDate}
    names = {"time": FROZEN_AT.timestamp, "monotonic": lambda: 1.5, "perf_counter": lambda: 1.5}
    for name, function in names.items():
        fakes[id(getattr(time, name))] = function
    with pytest.MonkeyPatch.context() as patch:
        for module_name, module in list(sys.modules.items()):
            if module_name == "time" or module_name.startswith("durable_objects"):
                for name, value in list(vars(module).items()):
                    if id(value) in fakes:
                        patch.setattr(module, name, fakes[id(value)])
        yield


@contextmanager
def nothing() -> Iterator[None]:
    """No clock is frozen."""
    yield


@pytest.mark.parametrize("around", [frozen, nothing])
@pytest.mark.parametrize("inside", [frozen, nothing])
def test_run_with_clocks_frozen_or_thawed_on_its_way(
    obj: Scripted,
    script: Script,
    around: Callable[[], AbstractContextManager[None]],
    inside: Callable[[], AbstractContextManager[None]],
) -> None:
    """A clock that is frozen before, inside or around a run is no time that it took."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        with inside():
            obj.storage.put("k", 1)
        with obj.unlocked(), inside():
            pass

    script.alarm = alarm
    with FakeClock(), around():
        obj.storage.set_alarm(NOW)
        run_due_alarms(raise_errors=True)
    assert [run.outcome for run in AlarmRun.objects.all()] == ["succeeded"]


def test_time_passes_for_the_limit_of_a_run_while_clocks_are_frozen(
    obj: Scripted, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run may take is judged by real time, whatever Python's clocks say."""
    monkeypatch.setattr(Scripted, "alarm_time_limit", timedelta(milliseconds=20))
    script.alarm = lambda obj, info: time.sleep(0.05)
    with FakeClock(), frozen():
        obj.storage.set_alarm(NOW)
        (run,) = run_due_alarms()
    assert run.outcome == "failed"


class OtherDatetime(datetime):
    """A subclass of a library's own, as pandas and pendulum have."""


class NoTime(datetime):
    """pandas' NaT: a datetime by its class that has no parts."""

    def utcoffset(self) -> timedelta:
        raise ValueError("NaTType does not support utcoffset")

    def astimezone(self, tz: tzinfo | None = None) -> Any:
        return self

    @property
    def year(self) -> int:
        return float("nan")  # type: ignore[return-value]


@pytest.mark.parametrize("kind", [FakeDatetime, OtherDatetime])
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-7))])
def test_time_of_an_alarm_may_be_any_datetime(obj: Scripted, kind: type[datetime], zone: tzinfo) -> None:
    """It is the same moment as the plain one, and comes back as plain, inside the turn too."""
    plain = datetime(2031, 3, 1, 9, 0, 0, 7, tzinfo=zone)
    when = kind(2031, 3, 1, 9, 0, 0, 7, tzinfo=zone)

    def work() -> datetime | None:
        obj.storage.set_alarm(when)
        return obj.storage.get_alarm()

    inside = obj.run_exclusive(work)
    assert inside == obj.storage.get_alarm() == plain
    assert type(inside) is datetime


def test_a_datetime_without_a_moment_is_refused(obj: Scripted) -> None:
    """What only looks like one names no moment."""
    with pytest.raises(InvalidAlarmTime, match="names no moment"):
        obj.storage.set_alarm(NoTime(2031, 1, 1))


def test_values_of_a_frozen_clock_are_stored_as_what_they_stand_for(obj: Scripted) -> None:
    """A test that puts "now" gets back an equal plain datetime; any other subclass is refused as ever."""
    moment = FakeDatetime(2031, 3, 1, 9, 0, tzinfo=UTC, fold=1)
    obj.storage.put("k", [moment, {"day": FakeDate(2031, 3, 1)}])
    kept = obj.storage.get("k")
    assert kept == [moment, {"day": date(2031, 3, 1)}]
    assert (type(kept[0]), kept[0].fold, type(kept[1]["day"])) == (datetime, 1, date)
    with frozen():
        obj.storage.put("k", [moment, REAL_DATETIME(2031, 3, 1), FakeDate(2031, 3, 1)])
        assert obj.storage.get("k") == [moment, REAL_DATETIME(2031, 3, 1), REAL_DATE(2031, 3, 1)]
    with pytest.raises(InvalidValue, match="OtherDatetime, a subclass"):
        obj.storage.put("k", OtherDatetime(2031, 3, 1, tzinfo=UTC))


def test_the_engines_own_time_goes_on(obj: Scripted) -> None:
    """Its monotonic clock is none of those that are frozen."""
    with frozen():
        before = clock.monotonic()
        time.sleep(0.01)
        assert 0.01 <= clock.monotonic() - before < 5
