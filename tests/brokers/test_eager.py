"""Celery's eager mode, as many projects have it in development and tests: setting an alarm runs nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from durable_objects import checks, tasks
from durable_objects.delivery import publisher
from durable_objects.tables import Alarm
from durable_objects.testing import run_due_alarms
from project.celery import app
from tests.models import Script, Scripted

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(publisher, "_publisher", publisher._Publisher())
    publisher.register(tasks._publish, tasks._broker_is_private, tasks._publish_several)
    monkeypatch.setattr(Scripted, "script", Script(), raising=False)
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = False


@pytest.mark.parametrize("worker_here", [False, True])
@pytest.mark.parametrize("after", [0.0, 0.5, 5.0])
def test_who_sets_an_alarm_does_not_run_it(after: float, worker_here: bool) -> None:
    """Whatever its time is: the caller returns at once, and the alarm waits for who runs it."""
    if worker_here:
        publisher.worker_started()
    obj = Scripted.objects.get_by_name("eager")
    began = time.monotonic()
    obj.storage.set_alarm(timedelta(seconds=after))
    assert time.monotonic() - began < 3
    assert Alarm.objects.get().state == "armed"
    assert not obj.storage.list()
    if not after:
        [run] = run_due_alarms()
        assert run.outcome == "succeeded"


def test_a_wake_up_that_comes_early_is_not_nested() -> None:
    """Somebody calls the task itself before its time: it ends, and does not wait by calling itself."""
    obj = Scripted.objects.get_by_name("eager")
    obj.storage.set_alarm(timedelta(seconds=5))
    began = time.monotonic()
    assert tasks.fire_alarm.delay(obj.pk).get() == "again"
    assert time.monotonic() - began < 3


def test_the_check_says_so() -> None:
    """``manage.py check`` warns that alarms wait, and how they are run."""
    messages = {message.id: message for message in checks.check_settings(None)}
    assert "run_due_alarms" in str(messages["durable_objects.W016"].hint)
