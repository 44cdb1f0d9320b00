"""The rows of the table: each a function that measures, with what it must reach. A module in ``rows`` adds its own."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.measuring import Result

if TYPE_CHECKING:
    from benchmarks.stage import Stage


class NotRun(Exception):
    """What the row needs is not here: its reason is printed instead of figures."""


@dataclass(frozen=True)
class Target:
    """What a ratio must reach and what it aims for: at least that much, or with ``at_most`` no more."""

    must: float
    aim: float
    at_most: bool = False

    def holds(self, ratio: float) -> bool:
        """Whether the ratio is good enough."""
        return ratio <= self.must if self.at_most else ratio >= self.must


@dataclass(frozen=True)
class Row:
    """One row: its number (from 20 on: only where it is asked for), title, targets by the names of its ratios."""

    number: int
    title: str
    targets: dict[str, Target]
    measure: Callable[[Stage], Result]


ROWS: dict[int, Row] = {}


def row(number: int, title: str, **targets: Target) -> Callable[[Callable[[Stage], Result]], Callable[[Stage], Result]]:
    """Make the function a row of the table. It may raise ``NotRun``."""

    def register(measure: Callable[[Stage], Result]) -> Callable[[Stage], Result]:
        ROWS[number] = Row(number, title, targets, measure)
        return measure

    return register


def load() -> dict[int, Row]:
    """All rows, in order."""
    package = importlib.import_module("benchmarks.rows")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"benchmarks.rows.{module.name}")
    return dict(sorted(ROWS.items()))
