"""The glossary's words are links where a page uses them first."""

from __future__ import annotations

import re

import pytest

from docs.generated.glossary import BEHIND_AN_ARTICLE, EVERYDAY, GLOSSARY, linked, words
from tests.architecture.sources import ROOT

PAGE = ROOT / "docs" / "guides" / "page.md"
TO = "../reference/glossary.md#"


def test_a_word_is_linked_where_it_is_used_first_and_only_there() -> None:
    """In the singular or plural, in any case, within bold text and tables; what is linked stays so."""
    text = "Two **wake-ups**, one wake-up.\n\n| Dispatcher | a lease |\n"
    once = f"Two **[wake-ups]({TO}wake-up)**, one wake-up.\n\n| [Dispatcher]({TO}dispatcher) | a [lease]({TO}lease) |\n"
    assert linked(text, PAGE) == once
    assert linked(once, PAGE) == once


def test_a_link_that_is_not_at_the_first_use_moves() -> None:
    """A sentence that is put in front of it takes the link."""
    assert linked(f"A lease. The [lease]({TO}lease).", PAGE) == f"A [lease]({TO}lease). The lease."


@pytest.mark.parametrize(
    "text",
    [
        "# The dispatcher\n",
        "```sh\nthe dispatcher\n```\n",
        "`the dispatcher` and ``a `lease` ``\n",
        "[the dispatcher](x.md) ![the lease](y.svg)\n",
        'It says "the dispatcher is away".\n',
        "<!-- the dispatcher -->\n",
        "<!-- written by make docs: x -->\nthe dispatcher\n<!-- end of what make docs writes -->\n",
        "It runs; turn it off, in turn; a non-dispatcher, an alarm.\n",
    ],
)
def test_only_running_text_is_linked(text: str) -> None:
    """Headings, code, quotations, links, comments, generated parts and a noun that is a verb there stay as they are."""
    assert linked(text, PAGE) == text


def test_a_noun_that_is_a_verb_as_well_needs_an_article() -> None:
    """Alone such a word may be either."""
    assert linked("It turns. The turns end.", PAGE) == f"It turns. The [turns]({TO}turn) end."


def test_each_word_has_an_entry_of_its_own() -> None:
    """An entry is a heading, which can be linked to everywhere, with its text below; the exceptions are among them."""
    text = GLOSSARY.read_text("utf-8")
    headings = re.findall(r"^### (.+)\n\n(?=\w)", text, re.MULTILINE)
    assert len(headings) == len(set(headings)) == text.count("### ")
    assert re.findall(r"^- \*\*", text, re.MULTILINE) == []
    assert set(words()) | EVERYDAY == set(headings)
    assert set(words()) >= BEHIND_AN_ARTICLE


def test_the_glossary_itself_is_left_alone() -> None:
    """Its entries are what the links lead to."""
    assert linked("The dispatcher.", GLOSSARY) == "The dispatcher."
