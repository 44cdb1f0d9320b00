"""A foreign Django project, as other people have them: copied from ``template/`` into a folder of a test's own.

It shares nothing with this tree but the engine, which it imports from here, or not even that where it has a Python of
its own (``installed``). Settings are changed by laying values over ``mysite/settings.py``; whatever runs in it runs in
a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from project.demo.processes import clean_environment

TEMPLATE = Path(__file__).parent / "template"
REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = 120.0

#: In front of each snippet: Django is set up, and ``answer(...)`` is what ``run`` gives back.
_PREAMBLE = """
import json, django
django.setup()
from datetime import UTC, datetime, timedelta
from shop.models import Account, Cart, Order, Timer
def answer(value):
    print("answer:" + json.dumps(value, default=str))
"""


@dataclass(frozen=True, slots=True)
class Done:
    """A process that has ended: its exit code and all that it wrote."""

    code: int
    out: str
    err: str

    def well(self) -> Self:
        """Itself; fails with what it wrote when it did not end with 0."""
        assert self.code == 0, f"ended with {self.code}:\n{self.out[-2000:]}\n{self.err[-4000:]}"
        return self


def database(url: str) -> dict[str, Any]:
    """An entry for ``DATABASES``: ``sqlite:///PATH`` or ``postgresql://…?option=value``."""
    where = urlsplit(url)
    if where.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": where.path[1:],
            "OPTIONS": {"transaction_mode": "IMMEDIATE"},
        }
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": where.path[1:],
        "USER": unquote(where.username or ""),
        "PASSWORD": unquote(where.password or ""),
        "HOST": where.hostname or "",
        "PORT": str(where.port or ""),
        "OPTIONS": dict(parse_qsl(where.query)),
    }


class Foreign:
    """The project in its folder. ``databases`` are URLs by alias; by default one SQLite file, ``default``.

    ``python`` is the one to run it with, which has the engine installed; by default ours, with the engine of this tree.
    """

    def __init__(
        self,
        folder: Path,
        databases: Mapping[str, str] | None = None,
        *,
        python: Path | None = None,
        **settings: Any,
    ) -> None:
        self.folder, self.interpreter = folder, str(python or sys.executable)
        for source in TEMPLATE.rglob("*-tpl"):
            target = folder / source.relative_to(TEMPLATE).with_suffix(".py")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(source.read_text("utf-8"))
        if python is None:
            (folder / "durable_objects").symlink_to(REPOSITORY / "durable_objects")
        urls = databases or {"default": self.sqlite("default")}
        self._settings: dict[str, Any] = {"DATABASES": {alias: database(url) for alias, url in urls.items()}}
        self.set(**settings)

    def sqlite(self, name: str) -> str:
        """The URL of an SQLite file in the folder."""
        return f"sqlite:///{self.folder / name}.sqlite3"

    @property
    def databases(self) -> dict[str, dict[str, Any]]:
        """A copy of ``DATABASES``, to be changed and given to ``set``."""
        copied: dict[str, dict[str, Any]] = json.loads(json.dumps(self._settings["DATABASES"]))
        return copied

    def set(self, **settings: Any) -> Self:
        """Lay these over its settings; they stay until they are set otherwise."""
        self._settings |= settings
        lines = ["import datetime", *(f"{name} = {value!r}" for name, value in self._settings.items())]
        (self.folder / "mysite" / "local.py").write_text("\n".join(lines) + "\n")
        return self

    def write(self, path: str, text: str) -> Self:
        """A file of its own: another migration, a router."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return self

    def manage(self, *arguments: str, **environment: str) -> Done:
        """Run ``manage.py`` with these arguments."""
        return self.python("manage.py", *arguments, **environment)

    def run(self, code: str, **environment: str) -> Any:
        """Run a snippet that says ``answer(value)``; the value, as JSON gives it. Fails when the snippet raises."""
        done = self.attempt(code, **environment).well()
        answers = [line.removeprefix("answer:") for line in done.out.splitlines() if line.startswith("answer:")]
        return json.loads(answers[-1]) if answers else None

    def attempt(self, code: str, **environment: str) -> Done:
        """Run a snippet that may raise."""
        return self.python("-c", _PREAMBLE + code, **environment)

    def python(self, *arguments: str, **environment: str) -> Done:
        """Run its Python in its folder, with its settings."""
        done = subprocess.run(
            [self.interpreter, "-W", "ignore::DeprecationWarning", *arguments],
            cwd=self.folder,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def environment(self, **more: str) -> dict[str, str]:
        """A clean environment in which Python finds the project and the engine, and nothing else of this tree."""
        return clean_environment(DJANGO_SETTINGS_MODULE="mysite.settings", PYTHONPATH=str(self.folder)) | more
