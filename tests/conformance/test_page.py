"""The published page says what the suite shows, of every number there is."""

from __future__ import annotations

import pytest

from tests.conformance.behaviour import behaviour, whole_suite
from tests.conformance.numbers import EXPECTED, NO_COUNTERPART
from tests.conformance.page import PAGE, write


def test_every_number_is_shown_by_a_test() -> None:
    """Each numbered behaviour has its test, but for those that have no counterpart, and no test shows another."""
    shown = set(whole_suite())
    assert sorted(set(EXPECTED) - shown) == []
    assert sorted(shown - set(EXPECTED)) == []
    assert (len(EXPECTED), len(NO_COUNTERPART)) == (94 + 63 + 30 + 19 + 1 - 20, 20)


def test_the_page_is_what_the_suite_writes() -> None:
    """docs/why/conformance.md is generated: `python -m tests.conformance` after each change of a mark."""
    assert PAGE.read_text("utf-8") == write(whole_suite())


def test_a_mark_says_something_and_only_once() -> None:
    """A number is shown by one test, and a difference has its reason."""
    with pytest.raises(ValueError, match="say the rule"):
        behaviour("DO-1", "", differs="because")
    with pytest.raises(ValueError, match="what to do instead"):
        behaviour("DO-1", "rule", differs="")
    shown_by = whole_suite()["DO-1"].test
    with pytest.raises(ValueError, match=shown_by):
        behaviour("DO-1", "rule")(test_a_mark_says_something_and_only_once)
    assert whole_suite()["DO-1"].test == shown_by
