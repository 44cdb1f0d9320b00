"""The links to the glossary: on each page, each of its words is a link where the page uses it first."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from docs.generated.sources import ROOT

GLOSSARY = ROOT / "docs" / "reference" / "glossary.md"
#: Pages that need no such links: the words themselves, what is on record, what another program writes.
WITHOUT = {GLOSSARY, GLOSSARY.with_name("changelog.md"), ROOT / "docs" / "why" / "conformance.md"}
#: Words that are everybody's, or that each page is about.
EVERYDAY = {
    "alarm", "claim", "consumed", "drain", "durable object", "entry", "fold", "gap", "generation", "grace", "guard",
    "handle", "kind", "pause", "prepared", "publisher", "put off", "rule", "settings of an object",
}  # fmt: skip
#: Nouns that are verbs as well, or part of a phrase: they count behind an article or the like.
BEHIND_AN_ARTICLE = {"fence", "pass", "rescue", "run", "slot", "turn"}
_ARTICLE = r"(?:an?|the|each|every|any|its|their|no|this|another)\s+"
#: What is not running text: code, headings, comments, links, quotations, and what is written by others.
_ELSE = re.compile(
    r"<!-- written by .*?<!-- end of .*?-->|<!--.*?-->|^ *```.*?^ *```$|^#.*?$"
    r"|!?\[[^\]]*\]\([^)]*\)|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)|\"[^\"\n]{1,80}\"",
    re.MULTILINE | re.DOTALL,
)


@cache
def words() -> tuple[str, ...]:
    """Return the words that are linked, in the glossary's order."""
    found = re.findall(r"^### (.+)$", GLOSSARY.read_text("utf-8"), re.MULTILINE)
    return tuple(word for word in found if word not in EVERYDAY)


def linked(text: str, page: Path) -> str:
    """Return a page's text with a link at the first use of each word, and at no other."""
    if page in WITHOUT:
        return text
    address = Path(os.path.relpath(GLOSSARY, page.parent)).as_posix()
    for word in words():
        target = f"{address}#{word.replace(' ', '-')}"
        text = re.sub(rf"\[([^\]]*)\]\({re.escape(target)}\)", r"\1", text)
    for word in words():
        if use := first_use(text, word):
            target = f"{address}#{word.replace(' ', '-')}"
            text = f"{text[: use.start(1)]}[{use[1]}]({target}){text[use.end(1) :]}"
    return text


def first_use(text: str, word: str) -> re.Match[str] | None:
    """Return where running text uses the word first, in the singular or plural, as group 1 of the match."""
    before = _ARTICLE if word in BEHIND_AN_ARTICLE else ""
    running = _ELSE.sub(lambda found: re.sub(r"\S", "\0", found[0]), text)
    return re.search(rf"(?<![\w-]){before}({word}(?:s|es)?)(?![\w-])", running, re.IGNORECASE)
