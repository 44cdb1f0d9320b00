"""The parts of the pages that are written from the code."""

from __future__ import annotations

import ast
from types import ModuleType

import pytest

from docs.generated import messages, texts
from docs.generated.pages import FOLDER, PARTS, current, stale

CODE = '''
"""A module that words texts in every way that is followed."""
NEVER = "they never run."

def advice(option):
    """Return what to write, with the value."""
    return f"Set {option}."

def found(number, name):
    text = "Alarms are late"
    text += f": {number:,}, one is {name!r}; {NEVER}"
    yield text
    yield advice("A")
    yield "{0} is {1!r}".format(number, name)
    yield "late" if number else "dead"
    yield name

def worded(now):
    why = advice(now)
    yield why

def said(error):
    """Find what cannot be reached. It takes a second."""
    yield str(error)
'''


def yielded(name: str) -> tuple[texts.Place, list[ast.expr]]:
    """Return a function of ``CODE``, and what it yields."""
    module = ModuleType("module")
    exec(CODE, vars(module))  # noqa: S102  it is above
    [function] = [node for node in ast.parse(CODE).body if isinstance(node, ast.FunctionDef) and node.name == name]
    found = [node.value for node in ast.walk(function) if isinstance(node, ast.Yield)]
    return texts.Place(function, module), [value for value in found if value is not None]


def test_the_pages_are_what_the_code_says() -> None:
    """What they take from it is current: `python -m docs.generated`, or `make docs`, writes it after each change."""
    assert [name for name, _ in stale()] == []


def test_each_part_is_on_a_page() -> None:
    """Whatever can be written has its place."""
    pages = "".join(page.read_text("utf-8") for page in FOLDER.glob("*/*.md"))
    assert [name for name in PARTS if f"<!-- written by make docs: {name} -->" not in pages] == []


def test_a_part_that_is_not_current_is_replaced() -> None:
    """Only what is between the comments changes; a part that nobody writes is an error."""
    page = "A\n<!-- written by make docs: {} -->\nearlier\n<!-- end of what make docs writes -->\nB\n"
    written = current(page.format("checks"))
    assert (written[:2], written[-3:]) == ("A\n", "\nB\n")
    assert "earlier" not in written
    assert "`durable_objects.E001`" in written
    with pytest.raises(KeyError, match="nothing"):
        current(page.format("nothing"))


def test_a_text_is_read_as_far_as_the_code_says_it() -> None:
    """Values are an ellipsis; constants, what was added, what a function words and both ways of a choice are shown."""
    place, values = yielded("found")
    assert [place.text(value) for value in values] == [
        "Alarms are late: …, one is …; they never run.",
        "Set A.",
        "… is …",
        "late / dead",
        "",
    ]


def test_a_text_that_is_worded_elsewhere_is_known_by_a_docstring() -> None:
    """That of the function which words it, if it is plain which one, or else that of the function that uses it."""
    promised = [place.promise(value) for place, [value] in map(yielded, ["worded", "said"])]
    assert promised == ["What to write, with the value", "What cannot be reached"]


def test_a_message_that_is_a_flaw_says_what_the_flaw_says() -> None:
    """Where a check or finding shows the ``Flaw`` that a function found, each of these is in the reference, passed on
    or not, with what to do.
    """
    said = [(each.text, each.advice) for each in messages.messages() if each.code == "durable_objects.W018"]
    assert [text.partition(" Celery app")[0] for text, _ in said] == ["Your", "This process does not use your"]
    assert all("`from .celery import" in advice or "namespace=" in advice for _, advice in said)


def test_no_message_is_without_words() -> None:
    """Each check and each finding says something: where its text is made elsewhere, by a docstring."""
    assert [message.code for message in messages.messages() if len(message.text) < 5] == []


@pytest.mark.parametrize(
    ("text", "cell"),
    [("a | b", "a \\| b"), ("__init__.py", r"\_\_init\_\_.py"), ("`a_b` <c>", r"`a_b` \<c\>")],
)
def test_a_page_shows_the_text_itself(text: str, cell: str) -> None:
    """Nothing in a message is taken for Markdown but what stands in backticks."""
    assert texts.plain(text) == cell
