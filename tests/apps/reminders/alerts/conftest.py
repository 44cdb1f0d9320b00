"""A condition that holds when the test says so, and a rule on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from durable_objects import conditions
from durable_objects.conditions import Condition, Found, Limits
from durable_objects.testing import FakeClock
from reminders.alerts import messages, watching
from reminders.models import AlertRule

MINUTE = timedelta(minutes=1)


@dataclass
class Fire:
    """What the condition "fire" finds; ``error`` is raised instead."""

    found: Found | None = None
    error: Exception | None = None

    def __call__(self, now: datetime, limits: Limits) -> Found | None:
        """Answer as the test has said."""
        if self.error is not None:
            raise self.error
        return self.found

    def burn(self, *subjects: str) -> None:
        """Hold from now on, about these."""
        self.found = Found("It burns.", {each: f"the {each}" for each in subjects})

    def go_out(self) -> None:
        """Hold no more."""
        self.found = None


@pytest.fixture
def fire(monkeypatch: pytest.MonkeyPatch) -> Fire:
    """The condition "fire"."""
    fire = Fire()
    conditions.conditions()  # those of apps are registered once
    monkeypatch.setitem(conditions._conditions, "fire", Condition("fire", "It burns", fire, at_least=1))
    return fire


@pytest.fixture
def rule(fire: Fire) -> AlertRule:
    """A rule on it that must hold for two minutes and is reported by the channel "log"."""
    return AlertRule.objects.create(condition="fire", hold_for=2 * MINUTE, channels=["log"])


@pytest.fixture
def minutes(alarm_clock: FakeClock) -> Callable[[float], None]:
    """``minutes(5)`` lets five minutes pass, and looks and sends each half minute and at last."""

    def minutes(number: float) -> None:
        for _ in range(int(2 * number)):
            alarm_clock.advance(MINUTE / 2)
            watching.check()
            messages.send_due(MINUTE)

    return minutes
