"""The words of the code: the field's, not a private vocabulary's; docs/reference/glossary.md explains ours."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.sources import PACKAGES, ROOT, tracked_files

#: What must not come back, and what says it instead. May grow.
NOT_BUT = {
    r"bells?(?!\.before_publish)|rung|ringing|ring (?:for|again|it)": "publisher, publish, wake-up",
    r"(?:un)?heard|hears?": "has a consumer",
    r"rooms?|house|(?:top )?floors?(?!\()|import walls?": "module, package, level, import rule; capacity",
    r"(?:let|lets|letting) go|had again|(?:is|was|not|be|been) had": "released, reacquired, acquired",
    r"wish(?:es|ed)?": "requested alarm",
    r"kept planned|brought along": "prepared, read ahead",
    r"so many|anew|of its own accord": "n or at most n, again, by itself",
    r"told|said": "reported, shown",
}
_NOT = re.compile("|".join(rf"\b(?:{words})\b" for words in NOT_BUT), re.IGNORECASE)
#: Texts for people: code and templates of the packages, and the documentation (figures apart, which are measured).
_TEXTS = {".py", ".html", ".txt", ".md"}
_VERBS = set((Path(__file__).parent / "verbs.txt").read_text("utf-8").split())


def texts() -> Iterator[Path]:
    """The files whose words are judged."""
    for path in tracked_files():
        name = path.relative_to(ROOT)
        is_ours = name.parts[0] in {*PACKAGES, "docs"} or path.name == "README.md"
        is_written = "migrations" not in name.parts and not path.name.startswith("performance")
        if is_ours and is_written and path.suffix in _TEXTS:
            yield path


def without_a_verb(source: str) -> Iterator[str]:
    """Functions and methods, properties apart, whose docstring does not begin with a verb."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        decorators = {ast.unparse(each).rpartition(".")[2].partition("(")[0] for each in node.decorator_list}
        docstring = ast.get_docstring(node)
        if docstring and not decorators & {"property", "cached_property"}:
            first = re.match(r"[A-Za-z-]+", docstring)
            if first is None or first.group().lower() not in _VERBS:
                yield f"{node.name}: {docstring.splitlines()[0]}"


def test_no_word_of_a_private_vocabulary_comes_back() -> None:
    """Code, pages and documentation use the words of Django, Celery, PostgreSQL and Cloudflare, or of the glossary."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match.group()!r} in {line.strip()[:100]}"
        for path in texts()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if (match := _NOT.search(line))
    ]
    assert found == [], f"say it in other words: {NOT_BUT}"


def test_a_functions_docstring_begins_with_a_verb() -> None:
    """It says what the function does: "Return", "Lock", "Raise"; a verb that is new is added to verbs.txt."""
    found = [
        f"{path.relative_to(ROOT)}: {silent}"
        for path in texts()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in PACKAGES
        for silent in without_a_verb(path.read_text("utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize("text", ["The bell is rung", "what was not had", "the wish of a run", "Said so many times"])
def test_such_words_are_found(text: str) -> None:
    """The rule above sees each of them, in any case."""
    assert _NOT.search(text)


def test_a_docstring_without_a_verb_is_found() -> None:
    """The rule above sees functions and methods, and leaves properties alone."""
    source = '''
def good():
    """Return it."""
def bad():
    """The thing."""
class Some:
    @property
    def kind(self):
        """The kind."""
    def run(self):
        """What runs."""
'''
    assert list(without_a_verb(source)) == ["bad: The thing.", "run: What runs."]
