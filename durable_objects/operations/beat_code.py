"""A class in Python that has the schedules of beat's rows: its text, for a project to take over and change."""

from __future__ import annotations

import keyword
import re
import textwrap
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from durable_objects.models import DurableObject
from durable_objects.operations.beat_rows import Carried
from durable_objects.turns.schedule_changes import MAX_SCHEDULES

WIDTH = 120
LONGEST_NAME = 50

_HEAD = '''\
"""What django-celery-beat called, as schedules of one object: by `manage.py alarms from_beat`, and yours to change.

Put it into the models of an app, run makemigrations and migrate. Then disable the rows in beat, and once call
`{name}.objects.get_by_name("beat").set_schedules()`; to call it again changes nothing.

An interval counts from `start`, or from 1970, where beat counts from the last run. What was missed while nothing ran is
made up for by one run, as by beat; `misfire` says otherwise. What of a row does not come along stands above its call.
"""

from __future__ import annotations

{imports}

class {name}(DurableObject):
    """Calls what beat called: each method is one of its tasks, which Celery still runs until its body is moved here."""

    class Meta:
        proxy = True

    @exclusive
    def set_schedules(self) -> None:
        """Set the schedules that beat had."""
'''

_UNITS = ("days", "hours", "minutes", "seconds", "microseconds")


def class_text(rows: Iterable[Carried], name: str) -> str:
    """Return the text of a module with the class, which passes ruff and mypy in lines of ``WIDTH``."""
    rows = [*rows]
    methods = _methods({row.task for row in rows if row.times}, {name})
    calls = "\n\n".join(_call(row, f"{name}.{methods[row.task]}" if row.times else "") for row in rows)
    if sum(bool(row.times) for row in rows) > MAX_SCHEDULES:
        many = f"an object has at most {MAX_SCHEDULES:,} schedules: give some of these to another name than beat"
        calls = "\n\n".join([_comment(many, 8), calls])
    if not any(row.times for row in rows):
        calls = "\n".join([calls, " " * 8 + "return"]).lstrip("\n")
    body = "\n\n".join(_method(task, method) for task, method in sorted(methods.items()))
    text = _HEAD.format(name=name, imports=_imports(calls, any_method=bool(methods))) + calls
    return "\n\n".join(part for part in (text, body) if part)


def method_name(task: str) -> str:
    """Return the last part of a task's name as a method of a class of objects may be called."""
    name = re.sub(r"[^0-9a-z_]+", "_", task.rpartition(".")[2].lower()).strip("_")[:LONGEST_NAME]
    return f"task_{name}" if not _is_free(name) else name


def literal(value: Any, indent: int = 0, behind: int = 0) -> str:
    """Return the Python text of a value, in several lines where it is too long; ``behind`` is what stands before it."""
    line = _in_one_line(value)
    if len(line) + behind + 1 <= WIDTH or not isinstance(value, list | dict) or not value:
        return line
    inside = indent + 4
    if isinstance(value, dict):
        items = [
            f"{_in_one_line(key)}: {literal(each, inside, inside + len(_in_one_line(key)) + 2)}"
            for key, each in value.items()
        ]
        opening, closing = "{}"
    else:
        items, (opening, closing) = [literal(each, inside, inside) for each in value], "[]"
    pad = " " * inside
    return "\n".join([opening, *(f"{pad}{item}," for item in items), f"{' ' * indent}{closing}"])


def _in_one_line(value: Any) -> str:
    if isinstance(value, datetime):
        at = value.astimezone(UTC)
        parts = [at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond]
        while len(parts) > 3 and not parts[-1]:
            parts.pop()
        return f"datetime({', '.join(map(str, parts))}, tzinfo=UTC)"
    if isinstance(value, timedelta):
        unit = next(each for each in _UNITS if not value % timedelta(**{each: 1}))
        return f"timedelta({unit}={value // timedelta(**{unit: 1})})"
    if isinstance(value, list):
        return f"[{', '.join(map(_in_one_line, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_in_one_line(key)}: {_in_one_line(each)}' for key, each in value.items())}}}"
    text = repr(value)
    plain = isinstance(value, str) and text.startswith("'") and '"' not in value
    return '"' + text[1:-1].replace("\\'", "'") + '"' if plain else text


def _call(row: Carried, method: str) -> str:
    title = f"{_in_one_line(row.name)}, which called {row.task}"
    title += f", {row.describe}" if row.describe and not row.times else ""
    lines = [_comment(each, 8) for each in (title, *row.notes)]
    if not row.times:
        return "\n".join(lines)
    given: dict[str, Any] = {
        **row.times,
        **{name: value for name in ("args", "kwargs") if (value := getattr(row, name))},
    }
    arguments = [literal(row.name), method]
    arguments += [f"{name}={literal(value, 12, 13 + len(name))}" for name, value in given.items()]
    inner = [_line(f"{' ' * 12}{argument},") for argument in arguments]
    return "\n".join([*lines, " " * 8 + "self.schedules.set(", *inner, " " * 8 + ")"])


def _method(task: str, method: str) -> str:
    call = f"        current_app.send_task({literal(task)}, args, kwargs)"
    if len(call) > WIDTH:
        arguments = [_line(f"            {each},") for each in (literal(task), "args", "kwargs")]
        call = "\n".join(["        current_app.send_task(", *arguments, "        )"])
    return f'''    def {method}(self, *args: Any, **kwargs: Any) -> None:
        """Let Celery run the task of that name."""
{call}'''


def _methods(tasks: set[str], taken: set[str]) -> dict[str, str]:
    """Return a method's name for each task, no two the same."""
    found: dict[str, str] = {}
    for task in sorted(tasks):
        name = method_name(task)
        if name in taken:
            name = method_name(re.sub(r"\W", "_", task))
        number, stem = 2, name
        while name in taken:
            name, number = f"{stem}_{number}", number + 1
        found[task] = name
        taken = taken | {name}
    return found


def _is_free(name: str) -> bool:
    return (
        name.isidentifier()
        and not keyword.iskeyword(name)
        and not hasattr(DurableObject, name)
        and not (name.startswith("_") or name in {"set_schedules", "name", "kind", "id", "pk", "self"})
    )


def _imports(calls: str, *, any_method: bool) -> str:
    times = [name for name in ("UTC", "datetime", "timedelta") if re.search(rf"\b{name}\b", _code_of(calls))]
    blocks = [
        [f"from datetime import {', '.join(times)}"] if times else [],
        ["from typing import Any"] if any_method else [],
    ]
    standard = [line for block in blocks for line in block]
    celery = ["from celery import current_app"] if any_method else []
    ours = ["from durable_objects import exclusive", "from durable_objects.models import DurableObject"]
    return "\n\n".join("\n".join(block) for block in (standard, celery, ours) if block) + "\n"


def _code_of(calls: str) -> str:
    """Return the lines that say when, without comments and texts that may hold any word."""
    return "\n".join(line for line in calls.splitlines() if re.match(r" {12}(at|every|start|end|grace)=", line))


def _comment(text: str, indent: int) -> str:
    pad = " " * indent + "# "
    one_line = text if text.isprintable() else repr(text)
    return textwrap.fill(one_line, WIDTH, initial_indent=pad, subsequent_indent=pad, break_on_hyphens=False)


def _line(text: str) -> str:
    """Return a line, or several, saying where one is too long for the style."""
    return "\n".join(_excused(line) for line in text.split("\n"))


def _excused(line: str) -> str:
    is_one_word = " " not in line.strip()  # which ruff lets pass
    return line if len(line) <= WIDTH or is_one_word else f"{line}  # noqa: E501  as beat has it"
