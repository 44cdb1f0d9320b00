"""The engine's Celery tasks: what a worker's log gets of them."""

from __future__ import annotations

import gc
import logging
from datetime import timedelta

import pytest
from celery.signals import worker_process_init
from django.db import OperationalError

from durable_objects.delivery import dispatcher
from durable_objects.tables import Alarm
from durable_objects.tasks import dispatch_alarms, fire_alarm
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Impatient


@pytest.mark.django_db
def test_a_pass_that_the_database_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A beat pass that the database refuses fails with one line that says what to do, and without a traceback."""

    def refuse(*args: object) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(dispatcher, "catch_up", refuse)
    caplog.set_level(logging.INFO)
    assert dispatch_alarms.apply().failed()
    (error,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    expected = "kept a lock for longer than the timeout: try again later. It says: database is locked"
    assert error.getMessage().endswith(expected)
    assert "made again within 5s" in error.getMessage()
    assert [record for record in caplog.records if record.exc_info] == []


def test_a_process_of_the_pool_does_not_go_through_what_it_has_inherited() -> None:
    """Nothing that was there when a pool's process began is gone through by its garbage collections."""
    inherited: list[object] = [[]]
    assert any(each is inherited for each in gc.get_objects())
    worker_process_init.send(sender=None)
    assert not any(each is inherited for each in gc.get_objects())


@pytest.mark.django_db
def test_a_dead_alarm_is_a_failure_to_celery_too(caplog: pytest.LogCaptureFixture) -> None:
    """The task fails once no run is left, for Flower and whoever listens to ``task_failure``; the one error in the log
    is the engine's, with the handler's traceback and fields to search by.
    """
    caplog.set_level(logging.INFO)
    with FakeClock() as clock:
        Impatient.objects.get_by_name("a").storage.set_alarm(timedelta(0))
        pk = Alarm.objects.get().pk
        run_due_alarms()
        clock.advance(timedelta(seconds=2))
        assert fire_alarm.apply((pk,), throw=False).state == "FAILURE"
    (error,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert error.exc_info is not None
    fields = {name: vars(error)[name] for name in ("event", "object_class", "object_name", "retry_count")}
    assert fields == {"event": "alarm_died", "object_class": "tests.Impatient", "object_name": "a", "retry_count": 1}
    (failed,) = [record for record in caplog.records if vars(record).get("event") == "alarm_failed"]
    assert (failed.levelno, vars(failed)["retry_count"]) == (logging.INFO, 0)
