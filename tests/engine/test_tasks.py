"""The engine's Celery tasks: what a worker's log gets of them."""

from __future__ import annotations

import logging

import pytest
from django.db import OperationalError

from durable_objects.delivery import dispatcher
from durable_objects.tasks import dispatch_alarms


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
    assert "made again within 5 s" in error.getMessage()
    assert [record for record in caplog.records if record.exc_info] == []
