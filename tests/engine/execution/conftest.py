"""Fixtures for the tests of runs: messages as a worker gets them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from durable_objects import AlarmInfo
from durable_objects.delivery import publisher
from tests.models import Script, Scripted

LIMIT = timedelta(minutes=1)
NAMES = ["a", "b", "c", "d"]

Alarms = list[tuple[int, int, int]]


class Messages(list[list[publisher.WakeUp]]):
    """The messages that were published, each with the wake-ups in it."""

    def alone(self) -> list[int]:
        """The objects that were woken by messages of their own."""
        return [message[0].object_id for message in self if len(message) == 1]


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> Messages:
    """What is published in this test, by a publisher that always succeeds and puts several into one message."""
    monkeypatch.setattr(publisher, "_publisher", publisher._Publisher())
    messages = Messages()
    publisher.register(
        lambda one: messages.append([one]), lambda: False, lambda several: messages.append(list(several))
    )
    return messages


@pytest.fixture
def alarms(script: Script, messages: Messages, monkeypatch: pytest.MonkeyPatch) -> Alarms:
    """Four alarms that are due, published in one message; what is in it."""
    with monkeypatch.context() as few:
        few.setattr(publisher, "FEWEST_MESSAGES", 1)
        Scripted.objects.set_alarms(dict.fromkeys(NAMES, timedelta(0)))
    (message,) = messages
    messages.clear()
    script.alarm = count
    return [(each.object_id, each.wake_up_number, each.kind_id or 0) for each in message]


def count(obj: Any, info: AlarmInfo) -> None:
    """What every handler does here."""
    obj.storage.put("runs", obj.storage.get("runs", 0) + 1)


def runs() -> dict[str, int]:
    """How often each object's handler has run well, by its own storage."""
    return {name: Scripted.objects.get_by_name(name).storage.get("runs", 0) for name in NAMES}
