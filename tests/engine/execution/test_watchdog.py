"""Runs that last longer than their class allows are counted as failed, whatever their code does."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection

from durable_objects import AlarmInfo, AlarmTimeLimitExceeded
from durable_objects.execution import watchdog
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.tables import Alarm, AlarmRun
from durable_objects.testing import FakeClock
from tests.models import Script, Scripted
from tests.support.threads import await_that

pytestmark = pytest.mark.django_db(transaction=True)

LIMIT = timedelta(milliseconds=50)


@pytest.fixture
def hasty(script: Script, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """An object with an alarm due now, whose runs may last 50 ms."""
    monkeypatch.setattr(Scripted, "alarm_time_limit", LIMIT)
    monkeypatch.setattr(watchdog, "GRACE_SECONDS", 0.05)
    obj = Scripted.objects.get_by_name("hasty")
    with FakeClock():
        obj.storage.set_alarm(timedelta(0))
    return obj


def outcomes() -> list[str]:
    """How the runs so far ended."""
    return list(AlarmRun.objects.order_by("id").values_list("outcome", flat=True))


def test_a_hung_run_is_counted_and_refused_when_it_wakes_up(hasty: Scripted, script: Script) -> None:
    """The watchdog counts the failure while the handler hangs unlocked; what the handler does afterwards is refused."""
    counted = threading.Event()

    def hang(obj: Scripted, info: AlarmInfo) -> None:
        with obj.unlocked():
            await_that(lambda: outcomes() == ["failed"])
            counted.set()
        obj.storage.put("k", 1)

    script.alarm = hang
    assert fire(hasty.pk).verdict is Verdict.SUPERSEDED
    assert counted.is_set()
    assert outcomes() == ["failed", "superseded"]
    slot = Alarm.objects.get()
    assert (slot.retry_count, slot.leased_until, hasty.storage.list()) == (1, None, {})
    assert "AlarmTimeLimitExceeded" in slot.last_error


def test_one_long_statement_ends_with_the_time_limit(hasty: Scripted, script: Script) -> None:
    """A handler that sits in a single statement of PostgreSQL is ended by the server, and has failed."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no limit for a statement: set TEST_DATABASE_URL=postgresql://…")

    def sit(obj: Scripted, info: AlarmInfo) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(20)")

    script.alarm = sit
    fired = fire(hasty.pk)
    assert fired.verdict is Verdict.FAILED
    assert isinstance(fired.error, AlarmTimeLimitExceeded)


def test_a_run_over_its_time_fails_at_its_end(hasty: Scripted, script: Script) -> None:
    """A handler that returns too late has failed, and what it wrote is undone (DO-51)."""
    late = threading.Event()

    def dawdle(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.put("k", 1)
        late.wait(0.08)

    script.alarm = dawdle
    fired = fire(hasty.pk)
    assert fired.verdict is Verdict.FAILED
    assert isinstance(fired.error, AlarmTimeLimitExceeded)
    assert hasty.storage.list() == {}
