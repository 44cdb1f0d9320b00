"""The checks and the doctor's findings, as their messages stand in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
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
                    if isinstance(call, ast.Call):
                        yield from _messages(call, place)


def _messages(call: ast.Call, place: Place) -> Iterator[Message]:
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    match call.func, keywords.get("id"), call.args:
        case _, ast.Constant(str(code)), [text, *hint] if _CHECK.fullmatch(code):
            pass
        case ast.Name("Finding"), None, [ast.Constant(str(code)), text, *hint] if code not in _REPEATS:
            pass
        case _:
            return
    given = keywords.get("is_trouble", ast.Constant(True))
    trouble = bool(given.value) if isinstance(given, ast.Constant) else None
    advice = place.text(hint[0] if hint else keywords.get("hint"))
    written = plain(place.text(text)) or f"*{plain(place.promise(text))}.*", plain(advice)
    for words in _flaws(place, text) or [written]:
        yield Message(code, *words, trouble)


def _flaws(place: Place, text: ast.expr) -> list[tuple[str, str]]:
    """Return text and advice of each ``Flaw`` of the function that found it, for a message that is ``flaw.text``."""
    match text:
        case ast.Attribute(ast.Name(name), "text"):
            return [words for maker in place.makers(name) for words in _flaws_of(maker)]
    return []


@cache
def _flaws_of(maker: str) -> list[tuple[str, str]]:
    """Return those of the functions and methods of this name, and of what they pass on."""
    found = []
    for name, path in modules().items():
        source = path.read_text("utf-8")
        for function in ast.walk(ast.parse(source)) if "Flaw(" in source else ():
            if isinstance(function, ast.FunctionDef) and function.name == maker:
                place = Place(function, import_module(name))
                for node in ast.walk(function):
                    match node:
                        case ast.Call(ast.Name("Flaw"), [text, advice]):
                            found.append((plain(place.text(text)), plain(place.text(advice))))
                        case ast.Return(ast.Call(ast.Name(other))) if other != "Flaw":
                            found += _flaws_of(other)
    return found
