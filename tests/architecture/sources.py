"""What the rules of this folder are asked of: the tracked files, and the public names in them."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("durable_objects", "batcher", "cleaner", "reminders", "project")

_UNTRACKED = {".git", ".venv", "var", "build", "dist", "__pycache__", ".hypothesis"}
#: Methods whose promise is Django's: an override without a docstring keeps it.
_DJANGO = {
    "add_arguments",
    "ready",
    "get_urls",
    "get_queryset",
    "get_actions",
    "get_fields",
    "get_fieldsets",
    "get_inlines",
    "get_list_display",
    "get_readonly_fields",
    "get_search_results",
    "get_object",
    "has_add_permission",
    "has_change_permission",
    "has_delete_permission",
    "has_view_permission",
    "formfield_for_dbfield",
    "changeform_view",
    "changelist_view",
    "change_view",
    "save_model",
    "delete_model",
    "delete_queryset",
    "lookups",
    "queryset",
    "log_message",
}
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def tracked_files() -> list[Path]:
    """Every file that git knows or would take; without git, every file that is not plainly a product."""
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        return sorted(path for path in ROOT.rglob("*") if path.is_file() and not _is_product(path))
    return sorted(path for name in set(listing.split("\0")) - {""} if (path := ROOT / name).is_file())


def python_files() -> list[Path]:
    """The tracked Python files, migrations left out: those are written by Django."""
    return [path for path in tracked_files() if path.suffix == ".py" and "migrations" not in path.parts]


def undocumented(source: str) -> Iterator[str]:
    """Public names in ``source`` that have no docstring, as ``name`` or ``Class.method``."""
    for node in ast.parse(source).body:
        if not isinstance(node, Definition) or node.name.startswith("_") or _is_overload(node):
            continue
        if not ast.get_docstring(node) and node.name != "Command":  # a command's `help` is shown, its docstring is not
            yield node.name
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and _owes_docstring(node, method):
                    yield f"{node.name}.{method.name}"


def _is_overload(node: Definition) -> bool:
    return any(ast.unparse(decorator).rpartition(".")[2] == "overload" for decorator in node.decorator_list)


def _owes_docstring(owner: ast.ClassDef, method: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in method.decorator_list}
    return not (
        method.name.startswith("_")
        or method.name in _DJANGO
        or (owner.name == "Command" and method.name == "handle")
        or decorators & {"overload", "override", "setter", "deleter"}
        or ast.get_docstring(method)
    )


def _is_product(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return any(part in _UNTRACKED or (part.startswith(".") and part.endswith("_cache")) for part in parts)
