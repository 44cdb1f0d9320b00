"""Fixtures of the suite: those of the engine's tests, and the messages that were sent to Celery."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from durable_objects import bell, tasks
from tests.engine.conftest import clock, obj, script

__all__ = ["clock", "committed", "messages", "obj", "script"]


@dataclass(frozen=True, slots=True)
class Message:
    """A wake-up as Celery was given it."""

    args: tuple[Any, ...]
    countdown: float

    def deliver(self) -> str:
        """What a worker makes of it: the verdict."""
        return str(tasks.fire_alarm(*self.args))


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """The wake-ups that Celery was given in this test, where a broker takes everything."""
    monkeypatch.setattr(bell, "_bell", bell._Bell())
    bell.connect(tasks._publish, lambda: False)
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
