"""Each block of code in README and docs holds: it is run, or at least parsed, in its own language."""

from __future__ import annotations

import ast
import configparser
import json
import tomllib
from collections.abc import Callable

import pytest
import yaml

from tests.docs.command_lines import flaws, span_flaw
from tests.docs.pages import Block, blocks_in, code_spans, every_block


def _ini(text: str) -> None:
    configparser.ConfigParser(strict=False, allow_no_value=True, interpolation=None).read_string(text)


def _shell(text: str) -> None:
    if found := flaws(text):
        raise ValueError("; ".join(found))


PARSERS: dict[str, Callable[[str], object]] = {
    "python": ast.parse,
    "sh": _shell,
    "json": json.loads,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
    "toml": tomllib.loads,
    "ini": _ini,
}
#: What is shown and not typed: answers, and configuration that only its own program can read.
SHOWN = {"text", "nginx", "html", "promql", "http", "sql", "{toctree}", "{eval-rst}", "{include}"}
#: At most as many blocks may go without being run. May shrink.
NOT_RUN = 6


def flaw_of(block: Block) -> str | None:
    """Return why the block does not hold; None if it does, or need not."""
    language = block.language.split(" ")[0]
    if language in SHOWN or block.not_run:
        return None
    if language not in PARSERS:
        return f"the language {block.language!r} is not known: one of {', '.join(sorted({*PARSERS, *SHOWN}))}"
    try:
        PARSERS[language](block.text)
    except (ValueError, SyntaxError, yaml.YAMLError, configparser.Error) as error:
        return str(error)
    return None


def test_each_block_is_read_by_its_own_language() -> None:
    """Python compiles, programs with their verbs and options exist, JSON, YAML, TOML and INI parse."""
    assert [f"{block.place}: {flaw}" for block in every_block() if (flaw := flaw_of(block))] == []


def test_commands_in_running_text_exist() -> None:
    """A `manage.py alarms doctor --fix` in a sentence names a command, a verb and options that there are."""
    assert sorted({f"{page}: `{span}`: {flaw}" for page, span in code_spans() if (flaw := span_flaw(span))}) == []


def test_few_blocks_go_without_being_run() -> None:
    """A block that cannot be run says why, in words."""
    reasons = [(block.place, block.not_run) for block in every_block() if block.not_run]
    assert [place for place, reason in reasons if len(reason.split()) < 3] == []
    assert len(reasons) <= NOT_RUN, reasons


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", "def f(:"),
        ("json", "{'a': 1}"),
        ("yaml", "a: ["),
        ("toml", "a ="),
        ("ini", "a = 1"),
        ("", "plain"),
        ("sh", "make nothing"),
        ("sh", "python manage.py alarms doctor --no-such-option"),
        ("sh", "manage.py alarms dance"),
        ("sh", "token=$(manage.py tokens dance | jq -r .token)"),
        ("sh", "celery -A mysite worker --no-such-option"),
        ("sh", "celery -A mysite dance"),
        ("sh", "no-such-program --help"),
        ("sh", "python -m tests.no_such_module"),
    ],
)
def test_a_block_that_does_not_hold_is_found(language: str, text: str) -> None:
    """The first rule sees each of them."""
    (block,) = blocks_in(f"```{language}\n{text}\n```\n")
    assert flaw_of(block)


@pytest.mark.parametrize("span", ["manage.py alarms dance", "manage.py dance", "manage.py alarms list --dance"])
def test_a_command_that_is_gone_is_found_in_a_sentence(span: str) -> None:
    """The second rule sees a command, a verb and an option that are not there."""
    assert span_flaw(span)


def test_a_marker_belongs_to_the_block_below_it() -> None:
    """A reason to leave out stands right before its block, or counts as a flaw."""
    marked, loose = (
        blocks_in("<!-- not run: needs a cluster -->\n\n```sh\nx\n```\n"),
        blocks_in("<!-- not run: needs a cluster -->\n\ntext\n"),
    )
    assert [block.not_run for block in marked] == ["needs a cluster"]
    assert [flaw_of(block) is not None for block in loose] == [True]
