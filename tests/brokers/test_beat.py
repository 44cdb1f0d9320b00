"""The dispatcher's entry in django-celery-beat: made by ``migrate``, then the operator's."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core import checks as django_checks
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from pytest_django import Settings

from durable_objects import beat, checks, tasks

pytestmark = pytest.mark.django_db


def found(*databases: str) -> list[str]:
    """What the checks say about dispatching."""
    messages: list[django_checks.CheckMessage] = checks.check_settings(None, databases=databases)
    return [message.msg for message in messages if message.id == "durable_objects.W006"]


def test_migrate_has_made_one_entry() -> None:
    """It calls the dispatcher every DISPATCH_EVERY, and what no worker took by then expires."""
    entry = PeriodicTask.objects.get(name=beat.NAME)
    assert (entry.task, entry.enabled) == (tasks.dispatch_alarms.name, True)
    assert (entry.interval.every, entry.interval.period) == (5, "seconds")
    assert entry.expire_seconds == 5
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
    [(timedelta(seconds=2), (2, "seconds"), 2), (timedelta(milliseconds=500), (500_000, "microseconds"), 1)],
    ids=["whole seconds", "less than one"],
)
def test_any_interval_can_be_had(settings: Settings, every: timedelta, interval: tuple[int, str], expires: int) -> None:
    """DISPATCH_EVERY may be a part of a second; a message lives for a second at least."""
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


def test_a_disabled_entry_is_told_where_the_database_may_be_asked() -> None:
    """``migrate`` and ``check --database default`` say that nobody dispatches; an enabled entry is enough."""
    assert found("default") == []
    PeriodicTask.objects.filter(name=beat.NAME).update(enabled=False)
    assert found() == []
    [message] = found("default")
    assert "disabled" in message
    every = IntervalSchedule.objects.create(every=5, period="seconds")
    PeriodicTask.objects.create(name="my own", task=beat.TASK, interval=every)
    assert found("default") == []
