"""Fixtures for the tests of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from durable_objects.delivery import publisher
from durable_objects.testing import FakeClock
from tests.models import Script, Scripted
from tests.support.limited_alarms import Limiting


@pytest.fixture
def script() -> Script:
    """What every ``Scripted`` object does in this test."""
    return Scripted.script


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    """Time that stands still, at a round moment."""
    with FakeClock(datetime(2026, 5, 1, 12, tzinfo=UTC)) as fake:
        yield fake


@pytest.fixture
def obj(script: Script) -> Scripted:
    """An object that was never used."""
    return Scripted.objects.get_by_name("a")


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[publisher.WakeUp]:
    """The wake-ups that were published in this test, by a publisher that always succeeds."""
    monkeypatch.setattr(publisher, "_publisher", publisher._Publisher())
    wake_ups: list[publisher.WakeUp] = []
    publisher.register(wake_ups.append, lambda: False)
    return wake_ups


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Limiting:
    """Set the limits of ``Scripted`` for this test."""

    def set_limits(concurrency: int | None = None, rate: float | None = None) -> None:
        monkeypatch.setattr(Scripted, "alarm_concurrency", concurrency)
        monkeypatch.setattr(Scripted, "alarm_rate", rate)

    return set_limits
