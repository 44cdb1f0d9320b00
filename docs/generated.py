"""The directive ``generated``: what the reference says of settings and commands, read from the code at each build."""

from __future__ import annotations

import argparse
import ast
import tokenize
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from django.apps import apps
from django.core.management import BaseCommand, get_commands, load_command_class
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from durable_objects.conf import AppSettings, Checked, OneOf
from durable_objects.formatting import span

ROOT = Path(__file__).resolve().parents[1]
#: Options that each command of Django has.
DJANGOS = {action.dest for action in BaseCommand().create_parser("manage.py", "any")._actions}


def settings() -> str:
    """Return a section for each dict of settings: its keys with default, bounds and meaning."""
    return "\n".join(_section(name, found) for name, found in sorted(declared_settings().items(), key=_place))


def declared_settings() -> dict[str, dict[str, str]]:
    """Return what the comments in the code say of each key, by the dict's name.

    A key without a comment of its own belongs to the comment above it.
    """
    found: dict[str, dict[str, str]] = {}
    for folder in sorted({Path(config.path) for config in apps.get_app_configs() if _is_ours(config.path)}):
        for source in sorted(folder.rglob("*.py")):
            if "AppSettings(" in source.read_text("utf-8"):
                found |= dict(_declarations(source))
    return found


def commands() -> str:
    """Return a section for each ``manage.py`` command of ours, and in it one for each verb."""
    ours = {name: app for name, app in get_commands().items() if _is_ours_by_name(app)}
    return "\n".join(_command(app, name) for name, app in sorted(ours.items()))


GENERATED: dict[str, Callable[[], str]] = {"settings": settings, "commands": commands}


class Generated(SphinxDirective):
    """Puts the Markdown of one of ``GENERATED`` in its place."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[Any]:
        """Return docutils' nodes of the Markdown that the code gives."""
        return self.parse_text_to_nodes(GENERATED[self.arguments[0]](), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("generated", Generated)
    return {"parallel_read_safe": True}


def _place(item: tuple[str, object]) -> tuple[bool, str]:
    return item[0] != "DURABLE_OBJECTS", item[0]


def _is_ours(path: str) -> bool:
    return Path(path).resolve().is_relative_to(ROOT) and ".venv" not in Path(path).parts


def _is_ours_by_name(app: str) -> bool:
    return any(config.name == app and _is_ours(config.path) for config in apps.get_app_configs())


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
    return f"## `{name}`\n\n| key | default | allowed | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


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


def _command(app: str, name: str) -> str:
    parser = load_command_class(app, name).create_parser("manage.py", name)
    text = f"## `manage.py {name}`\n\n{parser.description or ''}\n\n"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            return text + "".join(_verb(name, verb, helps[verb], each) for verb, each in action.choices.items())
    return text + _arguments(parser)


def _verb(command: str, verb: str, purpose: str, parser: argparse.ArgumentParser) -> str:
    return f"### {command} {verb}\n\n{purpose[:1].upper()}{purpose[1:].rstrip('.')}.\n\n{_arguments(parser)}"


def _arguments(parser: argparse.ArgumentParser) -> str:
    rows = [f"| {_usage(action)} | {_meaning(action)} |" for action in parser._actions if action.dest not in DJANGOS]
    return "| argument | meaning |\n|---|---|\n" + "\n".join(rows) + "\n\n" if rows else ""


def _usage(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
    if action.choices:
        value = ", ".join(map(str, action.choices))
    names = ", ".join(action.option_strings)
    return f"`{names} {value}`".replace(" `", "`").replace("` ", "`")


def _meaning(action: argparse.Action) -> str:
    text = action.help or ""
    return (text % vars(action) if "%(" in text else text).replace("|", "\\|")
