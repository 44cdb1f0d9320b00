"""What the documentation names exists: modules, files, tests."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from tests.architecture.sources import PACKAGES, ROOT, python_files, tracked_files

ENGINE = ROOT / "durable_objects"
#: What is on record of another time names what was there then.
_NOT_JUDGED = {"CHANGELOG.md"}
_TOP = "|".join([*PACKAGES, "tests", "benchmarks"])
_FOLDERS = f"{_TOP}|docs|scripts|requirements"
_PATH = re.compile(rf"(?<![\w./<-])(?:{_FOLDERS})/[\w./*-]*\w")
_DOTTED = re.compile(rf"(?<![\w./@-])(?:{_TOP})(?:\.\w+)+")
_TEST = re.compile(r"\btest_\w+\b")
#: ``turns/lock``, for a module or package of the engine; in `backticks`, or in a diagram.
_MODULE = re.compile(r"(?<![\w./-])([a-z_]+)/([a-z_/]*[a-z_])(?![\w/*.<-])(?<!/s)")
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
_EXAMPLE = re.compile(r"^```python\n.*?^```$", re.MULTILINE | re.DOTALL)
_ALONE = re.compile(r"`([a-z_/]+)`")


def documents() -> list[Path]:
    """The pages for people, and the sources of the diagrams."""
    return [
        path
        for path in tracked_files()
        if path.suffix in {".md", ".dot"} and path.relative_to(ROOT).as_posix() not in _NOT_JUDGED
    ]


@cache
def texts_in_code() -> str:
    """All Python sources: failpoints, tasks, questions of the doctor and the like are texts in them."""
    return "\n".join(path.read_text("utf-8") for path in python_files())


@cache
def known_tests() -> frozenset[str]:
    """The names of test functions, and of the files that they are in."""
    files = {path.stem for path in python_files()}
    return frozenset(files | set(re.findall(r"\bdef (test_\w+)", texts_in_code())))


@cache
def names_of(module: Path) -> frozenset[str]:
    """What a module defines, imports or assigns anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
        elif isinstance(node, ast.Name):
            names.add(node.id)
    return frozenset(names)


def is_there(dotted: str) -> bool:
    """Whether this is a module, a name in one, or a text that the code has."""
    if f'"{dotted}' in texts_in_code() or any((ROOT / "docs").glob(f"*/{dotted}")):
        return True
    at, rest = ROOT, dotted.split(".")
    while rest and (at / rest[0]).is_dir():
        at, rest = at / rest[0], rest[1:]
    module = at / "__init__.py"
    if rest and (at / f"{rest[0]}.py").is_file():
        module, rest = at / f"{rest[0]}.py", rest[1:]
    return not rest or (module.is_file() and set(rest) <= names_of(module))


def missing_in(page: str) -> list[str]:
    """The paths, names, modules and tests in ``page`` that are not there; examples in Python are the reader's."""
    text = _EXAMPLE.sub("", page)
    paths = [path for path in _PATH.findall(text) if not any(ROOT.glob(path)) and f'"{path}' not in texts_in_code()]
    dotted = [name for name in _DOTTED.findall(text) if not is_there(name)]
    modules = [
        f"{package}/{module}"
        for package, module in _MODULE.findall(text)
        if (ENGINE / package).is_dir()
        and not (ENGINE / package / f"{module}.py").is_file()
        and not (ENGINE / package / module).is_dir()
    ]
    return sorted({*paths, *dotted, *modules, *(set(_TEST.findall(text)) - known_tests())})


def test_what_the_documentation_names_is_there() -> None:
    """Each module, file and test that a page or diagram names exists; whoever renames one corrects the page too."""
    missing = {
        path.relative_to(ROOT).as_posix(): names
        for path in documents()
        if (names := missing_in(path.read_text("utf-8")))
    }
    assert missing == {}


def fields_of(call: ast.Call) -> set[str]:
    """The fields that ``about(event, key, figure=…)`` gives a record."""
    named = {"object_class", "object_name"} if len(call.args) > 1 else set()
    return named | {str(keyword.arg) for keyword in call.keywords}


def test_the_events_of_the_log_are_on_their_page() -> None:
    """Each event that a record is named by is in the table of docs/reference/events.md, with its fields."""
    page = (ROOT / "docs" / "reference" / "events.md").read_text("utf-8").partition("| `event` |")[2]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|", page, re.MULTILINE)
    sources = [path.read_text("utf-8") for path in python_files() if path.is_relative_to(ENGINE)]
    written = [
        (call.args[0].value, fields_of(call))
        for source in sources
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "about"
        if isinstance(call.args[0], ast.Constant)
    ]
    assert dict(written) == {event: set(re.findall(r"`(\w+)`", fields)) for event, fields in rows}
    assert len(written) == len(dict(written)), "each event is written in one place"


def test_links_lead_somewhere() -> None:
    """Each relative link and picture of a page is there."""
    dead = {
        path.relative_to(ROOT).as_posix(): links
        for path in documents()
        if (links := [link for link in _LINK.findall(path.read_text("utf-8")) if not (path.parent / link).exists()])
    }
    assert dead == {}


def test_the_first_page_leads_to_all_others() -> None:
    """docs/index.md links every page in the folders of docs, with a word on it: a new page gets its line there."""
    docs = ROOT / "docs"
    linked = set(re.findall(r"\]\(([\w/-]+\.md)\)", (docs / "index.md").read_text("utf-8")))
    assert linked == {path.relative_to(docs).as_posix() for path in docs.glob("*/*.md")}


def test_each_module_of_the_engine_is_in_the_architecture() -> None:
    """docs/why/architecture.md names each module of the engine, or its package where that answers one question."""
    page = set(_ALONE.findall((ROOT / "docs/why/architecture.md").read_text("utf-8")))
    whole = {"admin", "doctor", "http", "management", "outgoing", "receiver"}
    modules = {
        path.relative_to(ENGINE).with_suffix("").as_posix()
        for path in python_files()
        if path.is_relative_to(ENGINE) and path.name != "__init__.py"
    }
    assert whole <= page
    assert sorted(module for module in modules if module.split("/")[0] not in whole and module not in page) == []


def test_a_name_that_is_gone_is_found() -> None:
    """The first rule sees paths, modules, names in modules, and tests."""
    gone = "`turns/hold`, `durable_objects.bell`, durable_objects.conf.motor, tests/house/x.py, `test_nothing_at_all_`"
    assert len(missing_in(gone)) == 5
    assert missing_in("`turns/lock`, `durable_objects.conf.engine`, docs/why/protocol.md, a text/plain") == []
