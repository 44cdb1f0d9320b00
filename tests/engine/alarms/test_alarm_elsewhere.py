"""What others do to an alarm while its handler is unlocked stands, whatever the run itself asked for before."""

from __future__ import annotations

from datetime import timedelta

import pytest

from durable_objects import AlarmInfo
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Script, Scripted
from tests.support.threads import InThread

pytestmark = pytest.mark.django_db(transaction=True)

NOW, SECOND, HOUR = timedelta(0), timedelta(seconds=1), timedelta(hours=1)

CHANGES = {"set": lambda obj: obj.storage.set_alarm(HOUR), "delete": lambda obj: obj.storage.delete_alarm()}


@pytest.mark.parametrize("fails", [False, True], ids=["success", "failure"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("own", ["none", "before"])
def test_change_from_elsewhere_while_unlocked_stands(
    clock: FakeClock, obj: Scripted, *, change: str, own: str, fails: bool
) -> None:
    """Set or deleted by others while the handler is unlocked, that stands: after success, and instead of a retry."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        if own == "before":
            obj.storage.set_alarm(5 * HOUR)
        with obj.unlocked():
            InThread(lambda: CHANGES[change](Scripted.objects.get_by_name("a"))).result()
        if fails:
            raise ValueError

    obj.script.alarm = alarm
    obj.storage.set_alarm(NOW)
    assert [run.outcome for run in run_due_alarms()] == ["failed" if fails else "succeeded"]
    assert obj.storage.get_alarm() == (clock.now() + HOUR if change == "set" else None)
    clock.advance(HOUR - SECOND)
    assert run_due_alarms() == []
    clock.advance(SECOND)
    obj.script.alarm = lambda obj, info: None
    assert [run.retry_count for run in run_due_alarms()] == ([0] if change == "set" else [])


def test_of_own_and_elsewheres_changes_the_last_stands(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A handler's own set after others' delete counts, unless others delete once more."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        for _ in range(len(script.infos)):
            with obj.unlocked():
                InThread(Scripted.objects.get_by_name("a").storage.delete_alarm).result()
            if len(script.infos) == 1:
                obj.storage.set_alarm(HOUR)
            elif obj.storage.get_alarm() is None:
                obj.storage.set_alarm(2 * HOUR)
                with obj.unlocked():
                    InThread(Scripted.objects.get_by_name("a").storage.delete_alarm).result()
                return

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    run_due_alarms(raise_errors=True)
    assert obj.storage.get_alarm() == clock.now() + HOUR
    clock.advance(HOUR)
    run_due_alarms(raise_errors=True)
    assert obj.storage.get_alarm() is None


def test_elsewhere_no_alarm_is_seen_while_the_handler_is_unlocked(
    clock: FakeClock, obj: Scripted, script: Script
) -> None:
    """A running alarm is not pending for others either (DO-14)."""
    seen = []

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        with obj.unlocked():
            seen.append(InThread(Scripted.objects.get_by_name("a").storage.get_alarm).result())

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    run_due_alarms(raise_errors=True)
    assert seen == [None]


def test_an_alarm_set_elsewhere_is_seen_while_the_handler_is_unlocked_again(
    clock: FakeClock, obj: Scripted, script: Script
) -> None:
    """What others set during one unlock is pending for everybody, also during the next one."""
    seen = []

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        with obj.unlocked():
            InThread(lambda: Scripted.objects.get_by_name("a").storage.set_alarm(HOUR)).result()
        seen.append(obj.storage.get_alarm())
        with obj.unlocked():
            seen.append(InThread(Scripted.objects.get_by_name("a").storage.get_alarm).result())
        seen.append(obj.storage.get_alarm())

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    run_due_alarms(raise_errors=True)
    assert seen == [clock.now() + HOUR] * 3
