"""Rules of all templates of pages."""

from __future__ import annotations

import re

from tests.architecture.sources import ROOT, tracked_files

_WIDE = re.compile(r'<div class="do-wide[^>]*>')
_QUESTION = '<p class="do-question" tabindex="-1" autofocus>'
_REACHED = re.compile(r'tabindex="0" role="region" aria-label="[^"]+"')


def test_what_scrolls_sideways_is_reached_by_keyboard_and_has_a_name() -> None:
    """Each box around a wide table takes the focus, and says to a screen reader what it holds."""
    pages = {path.relative_to(ROOT).as_posix(): path for path in tracked_files() if path.suffix == ".html"}
    found = {name: _WIDE.findall(path.read_text("utf-8")) for name, path in pages.items()}
    assert sum(map(len, found.values())) >= 8
    assert {name: box for name, boxes in found.items() for box in boxes if not _REACHED.search(box)} == {}


def test_a_question_takes_the_focus() -> None:
    """Whoever works by keyboard is at the question, not at the top of the page: what is behind it is next."""
    pages = [path for path in tracked_files() if path.suffix == ".html" and path.is_relative_to(ROOT)]
    asked = {path.name: path.read_text("utf-8") for path in pages if "admin" in path.parts}
    questions = {name: text for name, text in asked.items() if '<input type="submit" value="Yes' in text}
    assert len(questions) >= 6
    assert [name for name, text in questions.items() if text.count(_QUESTION) != 1] == []
