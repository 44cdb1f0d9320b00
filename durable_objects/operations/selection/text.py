"""How a selection is written: qualifiers with their values, quotes, and the ``*`` behind the beginning of a text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from django.db.models import Q

from durable_objects.entries.sql import next_prefix
from durable_objects.errors import InvalidInput
from durable_objects.escaping import visible
from durable_objects.validation import show, text_flaw

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_TERM = re.compile(rf'(?:([A-Za-z_]+)([:<>]))?(?:({_QUOTED})|([^\s"*]*))(\*?)(?=\s|$)', re.DOTALL)
_PLAIN = re.compile(r"[\w./@+=,#-]+")


class InvalidSelection(InvalidInput):
    """A selection was refused: a word of it means nothing. Pass qualifiers with values, as `allowed` describes."""

    allowed = 'qualifiers with values (state:dead), the beginning of a name, texts with blanks in quotes ("my cart")'


@dataclass(frozen=True)
class Text:
    """A text that is looked for: all of it, or what begins with it."""

    text: str
    is_beginning: bool = False

    def __str__(self) -> str:
        return quoted(self.text) + "*" * self.is_beginning

    def condition(self, column: str) -> Q:
        """Return the condition on a column in code-point order, such as an index of it answers."""
        if not self.is_beginning:
            return Q(**{column: self.text})
        end = next_prefix(self.text) if self.text else None
        return Q(**{f"{column}__gte": self.text}) & (Q(**{f"{column}__lt": end}) if end is not None else Q())

    def describe(self, what: str) -> str:
        """Return it in words: ``the name ada``, ``a name that begins with a``."""
        named = visible(self.text) if _PLAIN.fullmatch(self.text) else quoted(self.text)
        return f"a {what} that begins with {named}" if self.is_beginning else f"the {what} {named}"


class Term(NamedTuple):
    """A qualifier with its sign (``due<``), its value, and both as they were written."""

    qualifier: str
    value: Text
    shown: str


def quoted(text: str) -> str:
    """Return the text as a selection has it: as it is, or in quotes as JSON, which names on pages are shown in too."""
    return text if _PLAIN.fullmatch(text) else visible(json.dumps(text, ensure_ascii=False)).replace("\n", "\\n")


def terms_of(text: str) -> Iterator[Term]:
    """Yield the terms in order; a bare word is the beginning of a name. Raises ``InvalidSelection``."""
    if flaw := text_flaw(text):
        raise InvalidSelection(f"The selection {flaw}. Allowed: {InvalidSelection.allowed}.")
    at = 0
    while rest := text[at:].lstrip():
        at = len(text) - len(rest)
        found = _TERM.match(text, at)
        if found is None:
            raise InvalidSelection(
                f"{show(rest.split()[0])} cannot be read. A text with blanks, quotes or * stands in double quotes, "
                r'in which \" is a quote: "my \"cart\"". A * stands behind what a name or key begins with.'
            )
        yield _term(found)
        at = found.end()


def _term(found: re.Match[str]) -> Term:
    word, sign, in_quotes, bare, star = found.groups()
    value = _unquoted(in_quotes) if in_quotes is not None else bare
    if word is None:
        return Term("name:", Text(value, is_beginning=True), show(found[0]))
    return Term(f"{word.lower()}{sign}", Text(value, is_beginning=bool(star)), show(found[0]))


def _unquoted(text: str) -> str:
    try:
        value: str = json.loads(text, strict=False)
    except json.JSONDecodeError:
        raise InvalidSelection(rf'{show(text)} has a \ that means nothing: write \\ for \ and \" for ".') from None
    if flaw := text_flaw(value):
        raise InvalidSelection(f"{show(text)} {flaw}: nothing stored has one.")
    return value
