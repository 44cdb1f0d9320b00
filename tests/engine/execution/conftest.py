"""Fixtures for the tests of runs: messages as a worker gets them."""

from __future__ import annotations

import pytest

from durable_objects.delivery import publisher


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
