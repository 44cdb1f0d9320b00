"""The codes of checks and of the doctor, and the public names, against what the pages say of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import durable_objects
from tests.architecture.sources import PACKAGES, ROOT, python_files

REFERENCE = "docs/reference/checks.md"
_CHECK = re.compile(r"(\w+)\.([EWI]\d{3})")
#: A finding that repeats what a check says.
_REPEATS = {"check"}


@cache
def calls() -> list[tuple[str, ast.Call]]:
    """Return each call in the code of the packages, with the name of what is called."""
    return list(_calls())


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for path in python_files():
        if path.relative_to(ROOT).parts[0] in PACKAGES:
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call):
                    yield ast.unparse(node.func).rpartition(".")[2], node


def check_codes() -> set[str]:
    """Return the ids of all checks, as in ``durable_objects.E001``."""
    constants = (keyword.value for _, call in calls() for keyword in call.keywords if keyword.arg == "id")
    ids = {each.value for each in constants if isinstance(each, ast.Constant)}
    return {str(each) for each in ids if _CHECK.fullmatch(str(each))}


def finding_codes() -> set[str]:
    """Return the codes of all findings of the doctor."""
    first = (call.args[0] for name, call in calls() if name == "Finding" and call.args)
    return {str(each.value) for each in first if isinstance(each, ast.Constant)} - _REPEATS


def test_each_check_is_explained() -> None:
    """The reference has each check by its id, and no page names one that is gone."""
    page = (ROOT / REFERENCE).read_text("utf-8")
    assert check_codes() - named_in(page) == set()
    everywhere = {match for path in (ROOT / "docs").rglob("*.md") for match in named_in(path.read_text("utf-8"))}
    assert everywhere - check_codes() == set()


def named_in(page: str) -> set[str]:
    """Return the ids of checks that a page names in full."""
    return {f"{app}.{code}" for app, code in _CHECK.findall(page) if app in {*PACKAGES, "durable_objects_http"}}


def test_each_finding_is_explained() -> None:
    """The reference has each finding of the doctor by its code."""
    page = (ROOT / REFERENCE).read_text("utf-8")
    assert {code for code in finding_codes() if f"`{code}`" not in page} == set()


def test_each_public_name_is_in_the_reference() -> None:
    """What `durable_objects` exports is among the names of the public API; errors are, as a whole."""
    page = (ROOT / "docs/reference/public-api.md").read_text("utf-8")
    errors = {name for name in durable_objects.__all__ if hasattr(durable_objects.errors, name)}
    assert {name for name in set(durable_objects.__all__) - errors if f"`{name}`" not in page} == set()
