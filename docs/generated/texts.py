"""What a text in the code says, as far as the code alone can tell: an ellipsis stands for what only a run knows."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from inspect import getdoc
from types import ModuleType
from typing import Any

#: What stands for a value that only a running process knows.
VALUE = "…"


@dataclass(frozen=True)
class Place:
    """A function of a module, in which a text is made."""

    function: ast.FunctionDef
    module: ModuleType

    def text(self, node: ast.expr | None) -> str:
        """Return the text of an expression with ``VALUE`` for each value in it; empty where nothing of it is known."""
        text = ""
        match node:
            case ast.Constant(str(text)):
                pass
            case ast.JoinedStr(parts):
                text = "".join(self._part(part) for part in parts)
            case ast.BinOp(left, ast.Add(), right):
                text = self.text(left) + self.text(right)
            case ast.IfExp(body=one, orelse=other):
                text = " / ".join(filter(None, (self.text(one), self.text(other))))
            case ast.Name(name):
                text = self._assigned(name, node.lineno) or _string(self._named(node))
            case ast.Attribute():
                text = _string(self._named(node))
            case ast.Call(ast.Attribute(pattern, "format")):
                text = re.sub(r"\{.*?\}", VALUE, self.text(pattern))
            case ast.Call(function, [ast.Constant(), *_] as arguments) if callable(self._named(function)):
                text = _string(self._named(function)(*map(ast.literal_eval, arguments)))  # it words an advice
        return text

    def promise(self, node: ast.expr) -> str:
        """Return what the docstring says of a text that another function words: that one's, or else this one's."""
        name = ast.unparse(node).partition(".")[0]
        made = [node, *(each for each in ast.walk(self.function) if _target(each) == name)]
        named = (self._named(call.func) for each in made for call in ast.walk(each) if isinstance(call, ast.Call))
        docstrings = [doc for function in named if callable(function) and (doc := getdoc(function))]
        first = re.split(r"[.;](?:\s|$)", next(iter(docstrings), ast.get_docstring(self.function) or ""), maxsplit=1)[0]
        words = (
            " ".join(first.split())
            .removeprefix("Return ")
            .removeprefix("Find ")
            .removeprefix("Say ")
            .replace("``", "`")
        )
        return f"{words[:1].upper()}{words[1:]}"

    def makers(self, name: str) -> list[str]:
        """Return the names of the functions and methods whose answer the function gives this name."""
        made = [each for each in ast.walk(self.function) if _target(each) == name]
        calls = [call.func for each in made for call in ast.walk(each) if isinstance(call, ast.Call)]
        return [ast.unparse(called).rpartition(".")[2] for called in calls]

    def _named(self, node: ast.expr) -> Any:
        """Return what a name, or a name in a module, stands for in this module; None for what only a run knows."""
        match node:
            case ast.Name(name):
                return getattr(self.module, name, None)
            case ast.Attribute(ast.Name(owner), name) if isinstance(getattr(self.module, owner, None), ModuleType):
                return getattr(getattr(self.module, owner), name, None)
        return None

    def _part(self, part: ast.expr) -> str:
        match part:
            case ast.FormattedValue(value, conversion=conversion):
                text = self.text(value)
                return repr(text) if text and conversion == ord("r") else text or VALUE
        return self.text(part)

    def _assigned(self, name: str, before: int) -> str:
        """Return what the function gave this name last, above that line, and what it added since."""
        text = ""
        for node in sorted(_assignments(self.function), key=lambda node: node.lineno):
            if node.lineno < before:
                match node:
                    case ast.Assign([ast.Name(id)], value) if id == name:
                        text = self.text(value)
                    case ast.AugAssign(ast.Name(id), ast.Add(), value) if id == name:
                        text += self.text(value)
        return text


def _target(node: ast.AST) -> str:
    match node:
        case ast.NamedExpr(ast.Name(name)) | ast.Assign([ast.Name(name)]):
            return name
    return ""


def _assignments(function: ast.FunctionDef) -> list[ast.Assign | ast.AugAssign]:
    return [node for node in ast.walk(function) if isinstance(node, ast.Assign | ast.AugAssign)]


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def plain(text: str) -> str:
    """Return a text as it looks the same in Markdown, in a table too; what stands in backticks stays code."""
    parts = re.split(r"(`[^`]*`)", text.strip().replace("|", "\\|"))
    return "".join(part if part.startswith("`") else re.sub(r"[*_<>\[\]]", r"\\\g<0>", part) for part in parts)
