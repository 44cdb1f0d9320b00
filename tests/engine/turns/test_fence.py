"""A runner that was paused past its lease can do no harm when it wakes up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from pytest_django import Settings

import durable_objects
from durable_objects import AlarmInfo, RunSuperseded
from durable_objects.alarms import leases
from durable_objects.conf import engine
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.tables import Alarm, AlarmRun, Entry, Object
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Note, Script, Scripted
from tests.support.threads import InThread, await_that

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timedelta(0)


def take_over(clock: FakeClock, obj: Scripted, script: Script, *, swallows: bool, writes_inside: bool) -> list[str]:
    """A first run is paused past its lease while a second one runs to its end; what happened, in order."""
    log: list[str] = []

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        if log:
            obj.storage.put("by", "second")
            log.append("second ran")
            return
        log.append("first began")
        obj.storage.put("by", "first, before")
        try:
            with obj.unlocked():
                clock.advance(engine.LEASE + timedelta(seconds=1))
                assert InThread(lambda: fire(pk)).result().verdict is Verdict.SUCCEEDED
                if writes_inside:
                    obj.storage.put("by", "first, inside")
        except Exception:
            log.append("first was refused")
            if not swallows:
                raise
            for operation in (lambda: obj.storage.put("by", "first, after"), obj.storage.get_alarm):
                with pytest.raises(RunSuperseded):
                    operation()
            Note.objects.create(text="by a stale runner, on its own")

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    pk = Alarm.objects.get().pk
    assert fire(pk).verdict is Verdict.SUPERSEDED
    assert run_due_alarms() == []
    return log


@pytest.mark.parametrize("writes_inside", [False, True], ids=["at its next lock", "inside the block"])
@pytest.mark.parametrize("swallows", [False, True], ids=["raises", "swallows"])
def test_stale_runner_is_refused_at_storage_and_commit(
    clock: FakeClock, obj: Scripted, script: Script, swallows: bool, writes_inside: bool
) -> None:
    """A runner paused past its lease is refused by storage and by its end, though it swallows every ``Exception``."""
    log = take_over(clock, obj, script, swallows=swallows, writes_inside=writes_inside)
    assert log == ["first began", "second ran", "first was refused"]
    assert obj.storage.list() == {"by": "second"}
    assert obj.storage.get_alarm() is None
    assert sorted(AlarmRun.objects.values_list("outcome", flat=True)) == ["succeeded", "superseded"]


def test_failure_of_a_stale_runner_is_not_counted(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """What a fenced runner raises changes nothing of the alarm that its successor has set."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        if len(script.infos) == 2:
            obj.storage.set_alarm(timedelta(hours=1))
            return
        with obj.unlocked():
            clock.advance(engine.LEASE)
            InThread(lambda: fire(pk)).result()
            raise ConnectionError("the upstream hung up")

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    pk = Alarm.objects.get().pk
    assert fire(pk).verdict is Verdict.SUPERSEDED
    slot = Alarm.objects.get()
    assert (slot.retry_count, slot.last_error) == (0, "")
    assert obj.storage.get_alarm() == clock.now() + timedelta(hours=1)


def test_deletion_fences_a_run_in_progress(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """``delete()`` from elsewhere while a run is unlocked ends what that run may do."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        with obj.unlocked():
            InThread(Scripted.objects.get_by_name("a").delete).result()
            with pytest.raises(RunSuperseded):
                obj.storage.put("k", 1)

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    assert fire(Alarm.objects.get().pk).verdict is Verdict.SUPERSEDED
    assert not Object.objects.exists()
    assert not Entry.objects.exists()


def test_a_turn_that_unlocks_inside_a_stale_run_is_fenced(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A call that an unlocked run makes, and that itself unlocks, is refused at its next lock once the run is stale."""

    def call() -> None:
        with obj.unlocked():
            clock.advance(engine.LEASE + timedelta(seconds=1))
            assert InThread(lambda: fire(pk)).result().verdict is Verdict.SUCCEEDED
        obj.storage.put("by", "a call of the stale run")

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        if len(script.infos) == 2:
            obj.storage.put("by", "second")
            return
        with obj.unlocked():
            obj.run_exclusive(call)

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    pk = Alarm.objects.get().pk
    assert fire(pk).verdict is Verdict.SUPERSEDED
    assert obj.storage.list() == {"by": "second"}


def test_heartbeat_keeps_the_lease_of_a_run_that_is_unlocked_for_long(
    obj: Scripted, script: Script, settings: Settings
) -> None:
    """A run may be unlocked for longer than one lease while its process lives: nobody takes it over."""
    settings.DURABLE_OBJECTS = {"LEASE": timedelta(seconds=1)}

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        with obj.unlocked():
            first = Alarm.objects.get().leased_until
            assert first is not None
            await_that(lambda: durable_objects.now() > first + timedelta(seconds=1))
            verdicts.append(InThread(lambda: fire(pk, rescue=True)).result().verdict)

    verdicts: list[Verdict] = []
    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    pk = Alarm.objects.get().pk
    assert fire(pk).verdict is Verdict.SUCCEEDED
    assert verdicts == [Verdict.DROPPED]
    assert len(script.infos) == 1
    await_that(lambda: leases._thread is None)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no pool: TEST_DATABASE_URL=postgresql://…")
def test_heartbeat_needs_no_place_in_a_pool(obj: Scripted, script: Script, settings: Settings) -> None:
    """Where handlers hold all that Django's pool has, or nobody can get one from it, leases are kept all the same."""
    settings.DURABLE_OBJECTS = {"LEASE": timedelta(seconds=1)}
    options = connection.settings_dict["OPTIONS"]

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        with obj.unlocked():
            first, driver = Alarm.objects.get().leased_until, connection.connection

            def is_renewed() -> bool:
                cursor = driver.execute("SELECT leased_until > %s FROM durable_objects_alarm", [first])
                return bool(cursor.fetchone()[0])

            options["pool"] = True  # which nobody gets anything from here, with or without psycopg_pool
            try:
                await_that(is_renewed)
            finally:
                del options["pool"]

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    assert fire(Alarm.objects.get().pk).verdict is Verdict.SUCCEEDED
    await_that(lambda: leases._thread is None)


def test_heartbeat_ends_with_a_run_that_was_torn_out(obj: Scripted, script: Script, settings: Settings) -> None:
    """A run that ends inside its block by Ctrl-C has its lease renewed no longer."""
    settings.DURABLE_OBJECTS = {"LEASE": timedelta(milliseconds=200)}

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        if len(script.infos) == 1:
            with obj.unlocked():
                raise KeyboardInterrupt

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    pk = Alarm.objects.get().pk
    with pytest.raises(KeyboardInterrupt):
        fire(pk)
    await_that(lambda: fire(pk, rescue=True).verdict is Verdict.SUCCEEDED)
    await_that(lambda: leases._thread is None)
