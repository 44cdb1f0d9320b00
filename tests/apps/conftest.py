"""Fixtures for the tests of the three apps."""

from collections.abc import Iterator

import pytest

from batcher.models import Batcher
from durable_objects.pytest_plugin import alarm_clock, crash_at
from durable_objects.testing import FakeClock
from reminders import channels
from reminders.models import Reminder
from tests.apps.sent import Sent
from tests.upstream import Upstream

__all__ = ["alarm_clock", "crash_at", "upstream"]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A scriptable HTTP upstream of the test's own; answers 200 unless told otherwise."""
    with Upstream() as server:
        yield server


@pytest.fixture
def batcher(upstream: Upstream, alarm_clock: FakeClock) -> Batcher:
    """A batcher that posts to the upstream, under a clock that stands still."""
    batcher = Batcher.objects.get_by_name("orders")
    batcher.configure(upstream_url=upstream.url)
    return batcher


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """The channel "log", in whose place what comes is kept."""
    sent = Sent()
    monkeypatch.setitem(channels._channels, "log", sent)
    return sent


@pytest.fixture
def reminder() -> Reminder:
    """A reminder that is not set."""
    return Reminder.objects.get_by_name("tea")
