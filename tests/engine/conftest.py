"""Fixtures for the tests of the engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.models import Script, Scripted


@pytest.fixture
def script() -> Iterator[Script]:
    """What every ``Scripted`` object does in this test."""
    Scripted.script = Script()
    yield Scripted.script
    Scripted.script = Script()
