"""The rules of this code base, each with a test that names who broke it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

from tests.architecture.sources import PACKAGES, ROOT, python_files, tracked_files, undocumented

MAX_LINES = 400
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
_PIN = re.compile(r"(?P<name>[a-z0-9-]+)==[\w.]+(?P<marker> ; [^\\]+)? \\")
_HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def name(path: Path) -> str:
    """How a finding names the file."""
    return path.relative_to(ROOT).as_posix()


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    """A Python file has at most 400 lines; one that wants more has a second responsibility."""
    lengths = {name(path): len(path.read_text("utf-8").splitlines()) for path in python_files()}
    assert {file: lines for file, lines in lengths.items() if lines > MAX_LINES} == {}


def test_every_public_name_says_what_it_promises() -> None:
    """Each public function, class and method of the packages has a docstring."""
    silent = [
        f"{name(path)}: {missing}"
        for path in python_files()
        if path.relative_to(ROOT).parts[0] in PACKAGES
        for missing in undocumented(path.read_text("utf-8"))
    ]
    assert silent == []


def test_a_name_without_docstring_is_found() -> None:
    """The rule above sees functions, classes and methods, and leaves private names and Django's own alone."""
    source = '''
def bare(): ...
def _private(): ...
class Shown:
    """Says."""
    def method(self): ...
    def has_add_permission(self, request): ...
    def __str__(self): ...
    class Meta:
        pass
class Command:
    def handle(self): ...
'''
    assert list(undocumented(source)) == ["bare", "Shown.method"]


def test_every_test_states_its_rule() -> None:
    """Each test has a docstring, which is the rule that it proves."""
    silent = [
        f"{name(path)}: {node.name}"
        for path in python_files()
        if path.name.startswith("test_")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_import_breaks_a_rule() -> None:
    """Every import obeys the contracts of pyproject.toml: apps over engine, level over level, Celery in few modules."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    run = subprocess.run(
        [sys.executable, "-c", command, "--no-cache", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_no_address_of_a_registry_and_no_path_of_a_machine() -> None:
    """What is tracked installs and runs anywhere: it names no package registry's host and nobody's home."""
    hosts = [("pypi", "org"), ("pythonhosted", ""), ("registry", "npmjs"), ("deb", "debian")]
    host = "|".join(re.escape(".".join(parts)) for parts in hosts)
    forbidden = re.compile(rf"{host}|(?:^|[^A-Za-z0-9_.])/(?:work|farm|root)/", re.MULTILINE)
    found = {
        name(path): match.group()
        for path in tracked_files()
        if (match := forbidden.search(path.read_text("utf-8", errors="replace")))
    }
    assert found == {}


def test_locks_hold_pins_and_hashes_only() -> None:
    """Each line of a lock is one exact version with its marker, or a hash of it; no address, no option."""
    assert LOCKS
    for lock in LOCKS:
        lines = lock.read_text("utf-8").splitlines()
        strange = [line for line in lines if not _PIN.fullmatch(line) and not _HASH.fullmatch(line)]
        bare = [
            line for line, after in zip(lines, [*lines[1:], ""], strict=True) if "==" in line and "--hash" not in after
        ]
        assert (strange, bare) == ([], []), name(lock)


def test_locks_hold_what_was_asked_for() -> None:
    """Each direct dependency is in its lock, and is given its reason in docs/why/dependencies.md."""
    reasons = (ROOT / "docs/why/dependencies.md").read_text("utf-8")
    for lock in LOCKS:
        pinned = {match["name"] for match in map(_PIN.fullmatch, lock.read_text("utf-8").splitlines()) if match}
        asked = re.findall(r"^[a-z][a-z0-9-]*", lock.with_suffix(".in").read_text("utf-8"), re.MULTILINE)
        assert set(asked) <= pinned, name(lock)
        assert [each for each in asked if f"**{each}**" not in reasons] == []


def test_both_locks_agree() -> None:
    """What production installs is the version that was tested."""
    runtime, development = (
        {
            line.split(" ")[0]
            for line in (ROOT / "requirements" / f"{kind}.txt").read_text("utf-8").splitlines()
            if "==" in line
        }
        for kind in ("runtime", "development")
    )
    assert runtime <= development


def test_what_is_logged_ends_nothing() -> None:
    """The packages log by ``durable_objects.logs``; to the channel "log" alone a line that got lost is a failure."""
    plain = re.compile(r"=\s*logging\.getLogger\(")
    found = {
        name(path)
        for path in python_files()
        if path.relative_to(ROOT).parts[0] in PACKAGES and plain.search(path.read_text("utf-8"))
    }
    assert found == {"reminders/channels/log.py"}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """No module needs, through others, one that needs it, imports for type checking only included."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=False)
    order = TopologicalSorter({module: graph.find_modules_directly_imported_by(module) for module in graph.modules})
    order.prepare()  # raises CycleError, which names them
