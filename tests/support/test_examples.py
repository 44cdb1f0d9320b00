"""How many examples are tried where."""

from __future__ import annotations

import pytest

from tests.support.examples import examples


@pytest.mark.parametrize(
    ("ci", "asked", "number", "tried"),
    [("", "", 100, 10), ("", "", 6, 5), ("", "", 3, 3), ("true", "", 100, 100), ("true", "2000", 100, 2000)],
)
def test_the_gate_tries_them_all(monkeypatch: pytest.MonkeyPatch, ci: str, asked: str, number: int, tried: int) -> None:
    """The gate tries all that a test asks for, other runs a tenth and never fewer than five; a given number wins."""
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("TEST_EXAMPLES", asked)
    assert examples(number) == tried
