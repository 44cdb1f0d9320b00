"""docs/why/conformance.md, written from what the suite says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.conformance.behaviour import Behaviour
from tests.conformance.numbers import EXPECTED, NO_COUNTERPART, SECTIONS

PAGE = Path(__file__).resolve().parents[2] / "docs/why/conformance.md"

_INTRODUCTION = """\
# Conformance with the original

Each behaviour of the original's alarms and storage that its documentation, its source or one of its tests tells, by
the number under which this repository cites it. The first column of a row is the number, the second what the original
does, the third what is so here. Each row is shown by the test that is linked, on SQLite and on PostgreSQL: `make test
ARGS="-k DO-16"` runs one of them. Written by `python -m tests.conformance` from the tests; do not edit.

{shown} behaviours: {held} hold, {different} differ, each for a reason and with what to do instead; {absent} have no
counterpart.
"""


def write(behaviours: Mapping[str, Behaviour]) -> str:
    """The page's text. Raises ``KeyError`` for a number that no test shows."""
    shown = [behaviours[number] for number in EXPECTED]
    held = sum(one.differs is None for one in shown)
    parts = [_INTRODUCTION.format(shown=len(shown), held=held, different=len(shown) - held, absent=len(NO_COUNTERPART))]
    for title, numbers in SECTIONS.items():
        rows = [_row(behaviours[number]) for number in numbers if number not in NO_COUNTERPART]
        parts.append(f"## {title}\n\n| # | the original | here | test |\n|---|---|---|---|\n" + "".join(rows))
    absent = "".join(f"| {number} | {_cell(reason)} |\n" for number, reason in NO_COUNTERPART.items())
    parts.append(f"## No counterpart\n\n| # | why |\n|---|---|\n{absent}")
    return "\n".join(parts)


def _row(one: Behaviour) -> str:
    here = "holds" if one.differs is None else f"**differs**: {one.differs}"
    link = f"[{one.test.removeprefix('test_')}](../../tests/conformance/{one.module}.py)"
    return f"| {one.number} | {_cell(one.rule)} | {_cell(here)} | {link} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
