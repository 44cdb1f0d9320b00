"""Who receives signals costs and hurts nobody; the log has the same events."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from durable_objects import signals
from durable_objects.execution.executor import fire
from durable_objects.tables import AlarmRun
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Counter, Script, Scripted

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timedelta(0)


def nothing() -> None:
    """A call that fails."""
    raise KeyError


def end(**facts: Any) -> None:
    """Raise what ends a thread."""
    raise SystemExit


def divide(**facts: Any) -> None:
    """Raise an error."""
    raise ZeroDivisionError("mine")


@pytest.mark.parametrize("receive", [divide, end])
def test_receiver_that_raises(
    obj: Scripted, script: Script, caplog: pytest.LogCaptureFixture, receive: Callable[..., None]
) -> None:
    """The call that made it run returns, the run has succeeded, and the log has the traceback."""
    for signal in (signals.object_created, signals.alarm_succeeded):
        signal.connect(receive)
    try:
        obj.storage.set_alarm(NOW)
        assert fire(obj.pk).verdict.value == "succeeded"
    finally:
        for signal in (signals.object_created, signals.alarm_succeeded):
            signal.disconnect(receive)
    assert [run.outcome for run in AlarmRun.objects.all()] == ["succeeded"]
    errors = [record for record in caplog.records if vars(record).get("event") == "receiver_raised"]
    assert [(vars(error)["object_name"], bool(error.exc_info)) for error in errors] == [("a", True)] * 2


def test_receiver_of_another_class_costs_no_hook(obj: Scripted, script: Script) -> None:
    """Where nobody receives this class's signals and nobody reads the log's lines, nothing is computed."""
    obj.storage.set_alarm(NOW)
    before = connection.on_commit
    added: list[str] = []

    def on_commit(func: Callable[[], Any], robust: bool = False) -> None:
        added.append(func.__module__)
        before(func, robust=robust)

    def receive(**facts: Any) -> None:
        pass

    signals.alarm_succeeded.connect(receive, sender=Counter)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(connection, "on_commit", on_commit)
            fire(obj.pk)
    finally:
        signals.alarm_succeeded.disconnect(receive, sender=Counter)
    assert "durable_objects.events" not in added


def test_log_has_the_same_events(
    clock: FakeClock, obj: Scripted, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG each event is a line, with its name, the object and figures; what was rolled back is none."""
    caplog.set_level(logging.DEBUG, "durable_objects")
    obj.storage.set_alarm(NOW)
    run_due_alarms()
    obj.delete()
    with pytest.raises(KeyError):
        obj.run_exclusive(nothing)
    lines = [vars(record) for record in caplog.records if record.name == "durable_objects.events"]
    assert [line["event"] for line in lines] == ["object_created", "alarm_succeeded", "object_deleted"]
    assert {(line["object_class"], line["object_name"]) for line in lines} == {("tests.Scripted", "a")}
    assert {name: lines[1][name] for name in ("retry_count", "scheduled_at", "lateness")} == {
        "retry_count": 0, "scheduled_at": clock.now().isoformat(), "lateness": 0.0,
    }  # fmt: skip
