"""The dispatcher's entry in django-celery-beat: made by ``migrate``, then the operator's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker.request import Request
from django.core import checks as django_checks
from django.db import DatabaseError
from django_celery_beat import schedulers
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from kombu.exceptions import OperationalError
from pytest_django import Settings

from durable_objects import checks, tasks
from durable_objects.delivery import beat
from durable_objects.doctor import environment
from durable_objects.scheduler import DatabaseScheduler
from project.celery import app

pytestmark = pytest.mark.django_db


def found(*databases: str) -> list[str]:
    """What the checks say about dispatching."""
    messages: list[django_checks.CheckMessage] = [
        *checks.check_settings(None),
        *checks.check_database(None, databases=databases),
    ]
    return [message.msg for message in messages if message.id == "durable_objects.W006"]


def test_migrate_has_made_one_entry() -> None:
    """It calls the dispatcher every DISPATCH_EVERY; what no worker takes expires after minutes."""
    entry = PeriodicTask.objects.get(name=beat.NAME)
    assert (entry.task, entry.enabled) == (tasks.dispatch_alarms.name, True)
    assert (entry.interval.every, entry.interval.period) == (5, "seconds")
    assert entry.expire_seconds == 600
    beat.keep_entry("default")
    assert PeriodicTask.objects.filter(task=beat.TASK).count() == 1


def test_an_operators_choice_stands(settings: Settings) -> None:
    """Disabled, or with another interval: the next ``migrate`` leaves it so, whatever the settings say."""
    other = IntervalSchedule.objects.create(every=30, period="seconds")
    PeriodicTask.objects.filter(name=beat.NAME).update(enabled=False, interval=other)
    settings.DURABLE_OBJECTS = {"DISPATCH_EVERY": timedelta(seconds=1)}
    beat.keep_entry("default")
    entry = PeriodicTask.objects.get(name=beat.NAME)
    assert (entry.enabled, entry.interval.every) == (False, 30)


@pytest.mark.parametrize(
    ("every", "interval", "expires"),
    [
        (timedelta(seconds=2), (2, "seconds"), 600),
        (timedelta(milliseconds=500), (500_000, "microseconds"), 600),
        (timedelta(minutes=20), (1200, "seconds"), 2400),
    ],
    ids=["whole seconds", "less than one", "long"],
)
def test_any_interval_can_be_had(settings: Settings, every: timedelta, interval: tuple[int, str], expires: int) -> None:
    """DISPATCH_EVERY may be a part of a second; a message outlives the next one."""
    PeriodicTask.objects.all().delete()
    settings.DURABLE_OBJECTS = {"DISPATCH_EVERY": every}
    beat.keep_entry("default")
    entry = PeriodicTask.objects.get(name=beat.NAME)
    assert (entry.interval.every, entry.interval.period, entry.expire_seconds) == (*interval, expires)


def test_who_dispatches_by_command_gets_no_entry(settings: Settings) -> None:
    """DISPATCHED_BY = "command", or no django-celery-beat: nothing is made."""
    PeriodicTask.objects.all().delete()
    settings.DURABLE_OBJECTS = {"DISPATCHED_BY": "command"}
    beat.keep_entry("default")
    settings.DURABLE_OBJECTS = {}
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_celery_beat"]
    beat.keep_entry("default")
    assert not PeriodicTask.objects.exists()


def test_a_disabled_entry_is_reported_where_the_database_may_be_asked() -> None:
    """``migrate`` and ``check --database default`` say that nobody dispatches; an enabled entry is enough."""
    assert found("default") == []
    PeriodicTask.objects.filter(name=beat.NAME).update(enabled=False)
    assert found() == []
    [message] = found("default")
    assert "disabled" in message
    every = IntervalSchedule.objects.create(every=5, period="seconds")
    PeriodicTask.objects.create(name="my own", task=beat.TASK, interval=every)
    assert found("default") == []


def pass_sent_now(skew: timedelta, monkeypatch: pytest.MonkeyPatch) -> Request:
    """What a worker whose clock is ahead makes of a pass that beat sends now."""
    entry = PeriodicTask.objects.get(name=beat.NAME)
    expires = datetime.now(UTC) + timedelta(seconds=entry.expire_seconds or 0)
    sent = tasks.dispatch_alarms.AsyncResult("id").id
    headers = {"id": sent, "task": tasks.dispatch_alarms.name, "expires": expires.isoformat(), "argsrepr": "()"}
    message = SimpleNamespace(headers=headers, delivery_info={}, properties={}, body=b"", content_type="json")
    message.content_encoding, message.payload = "utf-8", ((), {}, {})
    request = Request(message, app=app, task=tasks.dispatch_alarms, decoded=True, headers=headers, body=message.payload)
    ahead = datetime.now(UTC) + skew
    monkeypatch.setattr("celery.worker.request.datetime", SimpleNamespace(now=lambda zone=None: ahead))
    return request


@pytest.mark.parametrize("skew", [timedelta(0), timedelta(seconds=10), timedelta(minutes=5)], ids=str)
def test_a_worker_whose_clock_is_ahead_makes_passes(skew: timedelta, monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery judges by the worker's clock whether a message has expired: minutes do no harm."""
    assert not pass_sent_now(skew, monkeypatch).maybe_expire()


def test_doctor_lets_passes_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry from before, whose passes expire after seconds, is reported, and mended by --fix."""
    PeriodicTask.objects.filter(name=beat.NAME).update(expire_seconds=5)
    [finding] = environment._beat_entry(datetime.now(UTC))
    assert finding.code == "beat_expires"
    assert finding.fix is not None
    finding.fix()
    assert PeriodicTask.objects.get(name=beat.NAME).expire_seconds == 600
    assert list(environment._beat_entry(datetime.now(UTC))) == []


@pytest.mark.parametrize("error", [OperationalError("530 NOT_ALLOWED"), DatabaseError("away")], ids=repr)
def test_beat_goes_on(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker or a database that refuses ends django-celery-beat's own scheduler, and not ours, which sends again."""

    def refused(scheduler: Any) -> Any:
        raise error

    monkeypatch.setattr(schedulers.DatabaseScheduler, "schedule", property(refused))
    its_own, ours = (kind(app=app, lazy=True) for kind in (schedulers.DatabaseScheduler, DatabaseScheduler))
    for scheduler in (its_own, ours):
        scheduler._finalize.cancel()
    with pytest.raises(type(error)):
        its_own.tick()
    assert app.conf.beat_scheduler == "durable_objects.scheduler:DatabaseScheduler"
    assert ours.tick() == 1.0
    assert ours._heap is None
