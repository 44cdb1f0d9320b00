"""The checks and the doctor's findings, as their messages stand in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

from docs.generated.sources import modules
from docs.generated.texts import Place, in_cell

#: A finding that repeats what a check says.
_REPEATS = {"check"}
_CHECK = re.compile(r"\w+\.[EWI]\d{3}")


@dataclass(frozen=True)
class Message:
    """A check or a finding as the reference shows it: what it says and advises, whether it is trouble, if known."""

    code: str
    text: str
    advice: str
    is_trouble: bool | None = True
    is_fixable: bool = False


def checks() -> str:
    """Return a table of what ``manage.py check`` says of the engine, its HTTP interface and the apps."""
    rows = [f"| `{each.code}` | {each.text} | {each.advice} |" for each in messages() if _CHECK.fullmatch(each.code)]
    return "\n".join(["| id | what it says | what to do |", "|---|---|---|", *rows])


def findings() -> str:
    """Return a table of what ``manage.py alarms doctor`` finds, the questions of the apps included."""
    trouble, fixed = {True: "yes", False: "no", None: "perhaps"}, {True: "yes", False: ""}
    rows = [
        f"| `{each.code}` | {each.text} | {each.advice} | {trouble[each.is_trouble]} | {fixed[each.is_fixable]} |"
        for each in messages()
        if not _CHECK.fullmatch(each.code)
    ]
    return "\n".join(["| code | what it says | what to do | trouble | `--fix` |", "|---|---|---|---|---|", *rows])


def messages() -> list[Message]:
    """Return all of them, those of one code together: the engine's first, then those of the apps."""
    found = dict.fromkeys(message for name in modules() for message in _in_module(name))
    return sorted(found, key=lambda message: ("." in message.code.removeprefix("durable_objects."), message.code))


def _in_module(name: str) -> Iterator[Message]:
    source = modules()[name].read_text("utf-8")
    if "Finding" in source or "CheckMessage" in source:
        module = import_module(name)
        for function in ast.parse(source).body:
            if isinstance(function, ast.FunctionDef):
                place = Place(function, module)
                for call in ast.walk(function):
                    if isinstance(call, ast.Call) and (message := _message(call, place)):
                        yield message


def _message(call: ast.Call, place: Place) -> Message | None:
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    match call.func, keywords.get("id"), call.args:
        case _, ast.Constant(str(code)), [text, *hint] if _CHECK.fullmatch(code):
            pass
        case ast.Name("Finding"), None, [ast.Constant(str(code)), text, *hint] if code not in _REPEATS:
            pass
        case _:
            return None
    advice = place.text(hint[0] if hint else keywords.get("hint"))
    trouble = keywords.get("is_trouble", ast.Constant(True))
    return Message(
        code,
        in_cell(place.text(text)) or f"*{in_cell(place.promise(text))}*",
        in_cell(advice) or "*as it says*",
        bool(trouble.value) if isinstance(trouble, ast.Constant) else None,
        "fix" in keywords,
    )
