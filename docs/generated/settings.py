"""The settings of the engine and the apps: their keys, and what the comments above them say."""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from docs.generated.sources import modules
from durable_objects.conf import AppSettings, Checked, OneOf
from durable_objects.formatting import span


def settings() -> str:
    """Return a section for each dict of settings: its keys with default, bounds and meaning."""
    return "\n\n".join(_section(name, found) for name, found in sorted(_declared().items(), key=_place))


def _declared() -> dict[str, dict[str, str]]:
    """Return what the comments in the code say of each key, by the dict's name.

    A key without a comment of its own belongs to the comment above it.
    """
    found: dict[str, dict[str, str]] = {}
    for source in modules().values():
        if "AppSettings(" in source.read_text("utf-8"):
            found |= dict(_declarations(source))
    return found


def _place(item: tuple[str, object]) -> tuple[bool, str]:
    return item[0] != "DURABLE_OBJECTS", item[0]


def _declarations(source: Path) -> Iterator[tuple[str, dict[str, str]]]:
    comments = dict(_comments(source))
    for call in ast.walk(ast.parse(source.read_text("utf-8"))):
        match call:
            case ast.Call(func=ast.Name("AppSettings"), args=[ast.Constant(str(name)), ast.Dict(keys=keys)]):
                yield name, dict(_meanings([key for key in keys if isinstance(key, ast.Constant)], comments))


def _comments(source: Path) -> Iterator[tuple[int, str]]:
    with source.open("rb") as lines:
        for token in tokenize.tokenize(lines.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string.removeprefix("#").strip()


def _meanings(keys: list[ast.Constant], comments: dict[int, str]) -> Iterator[tuple[str, str]]:
    meaning = ""
    for key in keys:
        first = key.lineno
        while first - 1 in comments:
            first -= 1
        meaning = " ".join(comments[line] for line in range(first, key.lineno)) or meaning
        yield str(key.value), meaning


def _section(name: str, meanings: dict[str, str]) -> str:
    known = AppSettings.made[name]
    rows = [f"| `{key}` | {_default(known, key)} | {_bounds(known, key)} | {text} |" for key, text in meanings.items()]
    return f"## `{name}`\n\n| key | default | allowed | meaning |\n|---|---|---|---|\n" + "\n".join(rows)


def _default(known: AppSettings, key: str) -> str:
    return _value(known._defaults[key])


def _bounds(known: AppSettings, key: str) -> str:
    bounds = known._bounds.get(key)
    if bounds is None or isinstance(bounds, Checked):
        return type(known._defaults[key]).__name__
    if isinstance(bounds, OneOf):
        return ", ".join(map(_value, bounds.values))
    return f"{_value(bounds.least)} to {_value(bounds.most)}"


def _value(value: Any) -> str:
    if isinstance(value, timedelta):
        return span(value)
    return f"{value:,}" if type(value) is int else f"`{value!r}`"
