"""Which behaviour of the original a test shows: the mark on the test, and the suite as a whole."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import tests.conformance

Test = TypeVar("Test", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One numbered behaviour of the original, in a line; ``differs`` says why not here, and what to do instead."""

    number: str
    rule: str
    differs: str | None
    module: str
    test: str


_behaviours: dict[str, Behaviour] = {}


def behaviour(number: str, rule: str, *, differs: str | None = None) -> Callable[[Test], Test]:
    """Mark the test as the one that shows this behaviour: that it holds, or how it differs.

    A test may carry several where it shows each. It is found by number, too: ``make test ARGS="-k DO-16"``.
    """
    if not rule or differs == "":
        raise ValueError(f"{number}: say the rule, and where it differs why and what to do instead")

    def mark(test: Test) -> Test:
        if number in _behaviours and _behaviours[number].test != test.__name__:
            raise ValueError(f"{number} is shown by {_behaviours[number].test} already")
        module = test.__module__.rpartition(".")[2]
        found = Behaviour(number, rule, differs, module, test.__name__)
        _behaviours[number] = test.__dict__[number] = found  # pytest's -k looks at a function's attributes
        return test

    return mark


def whole_suite() -> Mapping[str, Behaviour]:
    """The behaviours that all tests of this folder show, by number."""
    for module in pkgutil.iter_modules(tests.conformance.__path__):
        if module.name.startswith("test_"):
            importlib.import_module(f"tests.conformance.{module.name}")
    return _behaviours
