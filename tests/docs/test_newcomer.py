"""The way of somebody new: from the first line of README to an alarm of their own."""

from __future__ import annotations

from tests.architecture.sources import ROOT
from tests.docs.pages import words_of

#: At most as many words, those in code included. May shrink.
WORDS = 1500
LINES = 120


def way() -> str:
    """Return what a newcomer reads: README up to this repository's own commands, then the page on installing."""
    readme = (ROOT / "README.md").read_text("utf-8").partition("## Try it here")
    install = (ROOT / "docs/start/install.md").read_text("utf-8").partition("## When nothing happens")
    assert readme[1]
    assert install[1]
    return readme[0] + install[0]


def test_the_way_to_the_first_alarm_is_short() -> None:
    """README and the page on installing lead to an alarm of one's own within 1,500 words."""
    assert 300 < words_of(way()) <= WORDS


def test_readme_stays_a_first_page() -> None:
    """README fits into 120 lines; all else is a page of its own."""
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= LINES


def test_words_are_those_that_are_read() -> None:
    """Prose and code count, comments and the targets of links do not."""
    assert words_of("Two [words](a/b/c.md)<!-- not seen -->\n```python\none = 1\n```\n") == 5
