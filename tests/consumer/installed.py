"""Environments with the wheel, what it asks for, and what a project of others' has beside it: nothing of this tree.

Each is made by uv with the index that pip is set up with. What cannot be had is a failure, not a reason to skip.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.architecture.sources import ROOT
from tests.support.wheels import build_wheels

#: What the project asks for itself.
PROJECTS_OWN = ["celery[redis]", "packaging", "psycopg[binary,pool]", "uvicorn", "pytest", "pytest-django"]
SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an environment is made of: the wheel's extras, the Pythons to look for, and whether our lock binds it."""

    extras: str
    pythons: tuple[str, ...] = ()
    is_locked: bool = True


RECIPES = {
    "locked": Recipe("beat,postgresql"),
    "apps": Recipe("http,batcher,reminders,cleaner"),
    # django-celery-beat may refuse the newest Django, so it is not there.
    "newest": Recipe("postgresql", ("3.14", "3.13", "3.12"), is_locked=False),
}


def environment(name: str, folder: Path) -> Path:
    """The Python of this environment, made in ``folder`` by whoever of several processes asks first."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / name
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / "done").exists():
            _make(RECIPES[name], made)
            (made / "done").touch()
    return made / "bin" / "python"


def _make(recipe: Recipe, into: Path) -> None:
    wheels = into.with_name(f"{into.name}-wheels")
    wheels.mkdir(exist_ok=True)
    (wheel,) = build_wheels(wheels).glob("django_durable_objects-*.whl")
    _uv("venv", "--clear", "--python", _python(recipe.pythons), into)
    asked = [f"django-durable-objects[{recipe.extras}] @ {wheel.as_uri()}", *PROJECTS_OWN, "--find-links", str(wheels)]
    if recipe.is_locked:
        constraints = into / "constraints.txt"
        lock = (ROOT / "requirements" / "development.txt").read_text("utf-8")
        constraints.write_text("".join(f"{line}\n" for line in re.findall(r"^[\w.-]+==[^\s;]+", lock, re.MULTILINE)))
        asked += ["--constraints", str(constraints)]
    _uv("pip", "install", "--only-binary", ":all:", "--python", into / "bin" / "python", *asked)


def _python(versions: tuple[str, ...]) -> str:
    """The first of these that there is; the one that runs the tests where there is none."""
    if not versions:
        return sys.executable
    command = ["sh", str(ROOT / "scripts" / "find-python"), *versions]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    return found.stdout.strip() or sys.executable


def _uv(*arguments: str | Path) -> None:
    _run(["sh", "scripts/uv", *map(str, arguments)], at=ROOT, PYTHON=sys.executable)


def _run(command: list[str], at: Path, **environment: str) -> None:
    done = subprocess.run(
        command, cwd=at, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 0, (
        f"{command[:6]} ended with {done.returncode}:\n{done.stdout[-1000:]}{done.stderr[-3000:]}"
    )
