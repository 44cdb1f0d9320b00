"""The page of the figures: what a program wrote there stays, and what it writes is what the runs found."""

from __future__ import annotations

from typing import Any

from tests.chaos.storm import page

RUN: dict[str, Any] = {
    "date": "2030-01-02",
    "tree": "0123456789",
    "broker": "redis",
    "seed": 7,
    "minutes": 20.0,
    "faults": {"worker killed": 2, "poison": 1},
    "faults_made": 3,
    "alarms_run": 1234,
    "broken": {},
}


def rows(ledger: str) -> list[list[str]]:
    """Its lines, without the heads."""
    return [page._cells(line) for line in ledger.splitlines() if line.startswith("| 20")]


def test_the_ledger_keeps_what_it_has() -> None:
    """Each run has a line, earlier ones stay, the same run again replaces its own, and the hours are added up."""
    first = page.ledger_of([], [RUN])
    other = RUN | {"date": "2030-01-01", "seed": 8, "minutes": 40.0, "broken": {"ended": 2, "lost": 1}}
    both = page.ledger_of(first.splitlines(), [other, RUN])
    assert rows(both) == [
        ["2030-01-01", "0123456789", "redis", "8", "40", "2", "3", "1,234", "2 ended, 1 lost"],
        ["2030-01-02", "0123456789", "redis", "7", "20", "2", "3", "1,234", "0"],
    ]
    assert "In all: 1.0 hours, 6 faults, 2,468 alarms." in both
    assert page.ledger_of(both.splitlines(), [RUN]) == both


def test_the_page_has_a_place_for_each() -> None:
    """docs/why/reliability.md has both marks, and a part that is replaced leaves all else as it was."""
    text = page.PAGE.read_text("utf-8")
    for name in (page.FIGURES, page.LEDGER):
        assert page.between(page.replaced(text, name, "new\n"), name) == "new\n"
        assert page.replaced(text, name, page.between(text, name)) == text
