"""Fixtures for users of pytest: ``pytest_plugins = ["durable_objects.pytest_plugin"]``, or by the wheel's entry point.

Django is imported only when a fixture is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from durable_objects.testing import FakeClock


@pytest.fixture
def alarm_clock() -> Iterator[FakeClock]:
    """Provide a ``FakeClock`` that is open for the test, at the real time of its start."""
    from durable_objects.testing import FakeClock

    with FakeClock() as clock:
        yield clock


@pytest.fixture
def crash_at() -> Callable[[str], AbstractContextManager[None]]:
    """Provide ``durable_objects.testing.crash_at``, as in ``with crash_at("turn.before_commit"): …``."""
    from durable_objects.testing import crash_at as context

    return context
