"""Fixtures of the suite: those of the engine's tests, and the messages that were sent to Celery."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from durable_objects import tasks, testing
from durable_objects.delivery import publisher
from durable_objects.execution import executor, groups
from durable_objects.execution.wake_up_admission import Fired, Verdict
from durable_objects.tables import Alarm
from tests.engine.conftest import clock, obj, script
from tests.models import Scripted

__all__ = ["clock", "committed", "messages", "obj", "script"]


#: Each alarm is tried in a group first, and alone where that undid it: ``TEST_TOGETHER=1 make test ARGS=…``.
TOGETHER = bool(os.environ.get("TEST_TOGETHER"))
#: These note what their handler saw in lists of their own, so that they see the call that was undone as well.
SEE_UNDONE_CALLS = {
    "test_do_14_a_running_alarm_is_not_pending",
    "test_do_15_the_handlers_own_set_is_seen",
    "test_do_27_delete_all_in_the_handler_then_raise",
    "test_do_51_a_run_over_its_time_has_failed",
    "test_do_37_runs_never_overlap",
    "test_objects_do_as_the_model_does",
}


@pytest.fixture(autouse=TOGETHER)
def together(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alarms of ``Scripted`` run in groups, wherever a group can run them."""
    if getattr(request.function, "__name__", "") in SEE_UNDONE_CALLS:
        pytest.skip("counts calls of its handler, also one that was undone with its group")
    monkeypatch.setattr(Scripted, "alarm_groups", True)

    def fire(object_id: int, **options: Any) -> Fired:
        alarm, calls = Alarm.objects.get(pk=object_id), getattr(Scripted, "script", None)
        known = len(calls.infos) if calls else 0
        if groups.fire_group([(object_id, alarm.wake_up_number)], Scripted.alarm_time_limit):
            return Fired(Verdict.SUCCEEDED)
        if calls:
            del calls.infos[known:]
        return executor.fire(object_id, **options)

    monkeypatch.setattr(testing, "fire", fire)


@dataclass(frozen=True, slots=True)
class Message:
    """A wake-up as Celery was given it."""

    args: tuple[Any, ...]
    countdown: float

    def deliver(self) -> str:
        """What a worker makes of it: the verdict."""
        try:
            return str(tasks.fire_alarm(*self.args))
        except tasks.AlarmDied:
            return "dead"


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """The wake-ups that Celery was given in this test, where a broker takes everything."""
    monkeypatch.setattr(publisher, "_publisher", publisher._Publisher())
    publisher.register(tasks._publish, lambda: False)
    sent: list[Message] = []
    monkeypatch.setattr(
        tasks.fire_alarm,
        "apply_async",
        lambda args, countdown=0.0, **options: sent.append(Message(args, countdown)),
    )
    return sent


@pytest.fixture
def committed(django_capture_on_commit_callbacks: Callable[..., Any]) -> Callable[[], AbstractContextManager[object]]:
    """``with committed(): …``: at its end what waited for the commit is done, as if the test had no transaction."""
    return partial(django_capture_on_commit_callbacks, execute=True)
