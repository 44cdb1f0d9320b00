"""The checks and the doctor's findings, as their messages stand in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby

from docs.generated.sources import modules
from docs.generated.texts import Place, plain

#: A finding that repeats what a check says.
_REPEATS = {"check"}
_TROUBLE = {True: "*Trouble:* ", False: "*Notice:* ", None: "*Trouble or notice:* "}
_CHECK = re.compile(r"\w+\.[EWI]\d{3}")


@dataclass(frozen=True)
class Message:
    """A check or a finding as the reference shows it: what it says and advises, whether it is trouble, if known."""

    code: str
    text: str
    advice: str
    is_trouble: bool | None = True


def checks() -> str:
    """Return an entry for each id that ``manage.py check`` has for the engine, its HTTP interface and the apps."""
    return _entries(message for message in messages() if _CHECK.fullmatch(message.code))


def findings() -> str:
    """Return an entry for each code that ``manage.py alarms doctor`` finds, the questions of the apps included."""
    return _entries(message for message in messages() if not _CHECK.fullmatch(message.code))


def _entries(found: Iterable[Message]) -> str:
    """Return a heading for each code, and below it what it says and what to do; it may say several things."""
    by_code = groupby(found, key=lambda message: message.code)
    return "\n\n".join("\n\n".join([f"### `{code}`", *map(_paragraphs, those)]) for code, those in by_code)


def _paragraphs(message: Message) -> str:
    trouble = "" if _CHECK.fullmatch(message.code) else _TROUBLE[message.is_trouble]
    return f"{trouble}{message.text}" + (f"\n\n→ {message.advice}" if message.advice else "")


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
        plain(place.text(text)) or f"*{plain(place.promise(text))}.*",
        plain(advice),
        bool(trouble.value) if isinstance(trouble, ast.Constant) else None,
    )
