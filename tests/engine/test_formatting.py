"""Texts for people: how long ones are cut."""

from __future__ import annotations

import pytest

from durable_objects.formatting import gist, number_of, short


def test_a_long_error_ends_at_a_word() -> None:
    """The line of an error is cut behind a word, with an ellipsis, and never longer than 200 characters."""
    line = "ValueError: " + "seventeen " * 30
    text = gist(f'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    f()\n{line}')
    assert text.endswith("seventeen…")
    assert len(text) <= 200
    assert gist("ValueError: no") == "ValueError: no"


@pytest.mark.parametrize(
    ("text", "limit", "cut"),
    [
        ("one two three", 13, "one two three"),
        ("one two three", 12, "one two…"),
        ("one two three", 7, "one two…"),
        ("a" * 20, 10, "a" * 10 + "…"),
        ("a " + "b" * 20, 10, "a bbbbbbbb…"),
    ],
)
def test_a_long_text_is_cut(text: str, limit: int, cut: str) -> None:
    """A text above the limit ends at a word where one ends in its second half, else in the middle of a word."""
    assert short(text, limit) == cut


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0 batches"), (1, "1 batch"), (2, "2 batches"), (12_000, "12,000 batches")]
)
def test_one_is_not_many(number: int, shown: str) -> None:
    """A number has its noun in the singular or the plural, and its digits grouped."""
    assert number_of(number, "batch", "batches") == shown
    assert number_of(number, "item").removesuffix("s") == f"{number:,} item"
