"""The pages for people, cut into code blocks and code spans.

What a page says to the tests is in HTML comments, which no reader sees: ``<!-- not run: REASON -->`` before a block,
and ``<!-- run first`` with lines of Python that run before the page's next block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.architecture.sources import ROOT, tracked_files

_NOT_RUN = re.compile(r"<!-- not run: (.+) -->\s*", re.DOTALL)
_RUN_FIRST = re.compile(r"<!-- run first\n(.+)-->\s*", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code: where it stands, its language, and why it is not run, where a marker says so."""

    page: str
    line: int
    language: str
    text: str
    not_run: str = ""

    @property
    def place(self) -> str:
        """Its page and line, for messages."""
        return f"{self.page}:{self.line}"


def page_names() -> list[str]:
    """Return the Markdown files that are for readers, without what is on record of another time."""
    names = [path.relative_to(ROOT).as_posix() for path in tracked_files() if path.suffix == ".md"]
    return [name for name in names if name != "CHANGELOG.md"]


@cache
def tokens_of(name: str) -> list[Token]:
    """Parse a page."""
    return MarkdownIt("commonmark").enable("table").parse((ROOT / name).read_text("utf-8"))


def blocks_in(text: str, page: str = "page.md") -> list[Block]:
    """Return the blocks of a page's text; ``run first`` comments are blocks of Python."""
    return list(_blocks(MarkdownIt("commonmark").parse(text), page))


def blocks_of(name: str) -> list[Block]:
    """Return the blocks of a page."""
    return list(_blocks(tokens_of(name), name))


def every_block() -> list[Block]:
    """Return the blocks of all pages."""
    return [block for name in page_names() for block in blocks_of(name)]


def code_spans() -> Iterator[tuple[str, str]]:
    """Yield each page with each of its `code spans`."""
    for name in page_names():
        for token in tokens_of(name):
            for child in token.children or []:
                if child.type == "code_inline":
                    yield name, child.content


def words_of(text: str) -> int:
    """Count what somebody reads of it: the words of prose and of code, without comments and the targets of links."""
    seen = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    return len(re.findall(r"\w[\w'.-]*", re.sub(r"\]\([^)]*\)", "]", seen)))


def _blocks(tokens: list[Token], page: str) -> Iterator[Block]:
    not_run = ""
    for token in tokens:
        line = token.map[0] + 1 if token.map else 0
        if token.type == "html_block":
            if first := _RUN_FIRST.match(token.content):
                yield Block(page, line + 1, "python", first[1])
            marker = _NOT_RUN.match(token.content)
            not_run = " ".join(marker[1].split()) if marker else ""
        elif token.type in {"fence", "code_block"}:
            yield Block(page, line + 1, token.info.strip(), token.content, not_run)
            not_run = ""
        elif not_run:
            yield Block(page, line, "marker without a block", "")
            not_run = ""
