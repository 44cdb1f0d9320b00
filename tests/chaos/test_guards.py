"""A guard that is left out is left out: what stands in its place takes what is given to it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.storm import guards
from tests.models import Subject


@pytest.mark.parametrize("name", guards.GUARDS)
def test_what_stands_in_its_place_takes_what_it_took(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is replaced by what would fail at its first call, which a checker may take for what it looks for."""
    monkeypatch.setattr(Subject, "alarm_max_retries", Subject.alarm_max_retries)

    def replace(owner: Any, attribute: str, value: Any) -> None:
        assert guards.not_taken(getattr(owner, attribute), value) == []
        monkeypatch.setattr(owner, attribute, value)

    monkeypatch.setattr(guards, "_replace", replace)
    guards.take_out(name)
