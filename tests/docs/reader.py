"""A reader who types what a page shows: ``python reader.py PAGE`` in an empty folder, with this repository on the path.

The project is ``examples/shop``, or Django's own by ``startproject`` for a page that shows a ``shop/models.py``; all of
ours is installed. A block whose first line names a file goes to the end of that file; all others run afterwards, in
their order and in one namespace. Then the page's tests run.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from django.core.management import call_command

from tests.architecture.sources import ROOT
from tests.docs.pages import Block, blocks_of

SETTINGS, MODELS = Path("mysite/settings.py"), Path("shop/models.py")
#: What a reader's own settings say besides: see docs/start/install.md.
SQLITE = """
DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE"}
DURABLE_OBJECTS = {"DISPATCHED_BY": "command"}
"""
INSTALLED = """
INSTALLED_APPS += ["shop", "durable_objects", "durable_objects.receiver", "batcher", "cleaner", "reminders"]
CELERY_BROKER_URL = "memory://"
"""
_FILE = re.compile(r"^# ([\w/]+\.py)\b.*$", re.MULTILINE)
CELERY = """
from celery import Celery

app = Celery("mysite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""


def main(page: str) -> None:
    """Make the project, write the page's files into it, and run the rest."""
    blocks = [block for block in blocks_of(page) if block.language == "python" and not block.not_run]
    files = [file for block in blocks for file in files_in(block)]
    if MODELS in {file for file, _ in files}:
        start_project()
    else:
        shutil.copytree(ROOT / "examples/shop", ".", dirs_exist_ok=True, ignore=shutil.ignore_patterns("var", "tests"))
    append(SETTINGS, INSTALLED)
    for file, text in files:
        append(file, text)
    append(SETTINGS, "INSTALLED_APPS = list(dict.fromkeys(INSTALLED_APPS))\n")
    os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
    sys.path.insert(0, "")
    importlib.import_module("mysite.celery")
    import django

    django.setup()
    call_command("check", fail_level="WARNING")
    call_command("makemigrations", verbosity=0)
    call_command("migrate", verbosity=0)
    for file, _ in files:
        if "test" not in file.name:
            importlib.import_module(".".join(file.with_suffix("").parts))
    namespace: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        if not files_in(block):
            exec(compile("\n" * (block.line - 1) + block.text, page, "exec"), namespace)  # noqa: S102  that is the point
    if any("test" in file.name for file, _ in files):
        call_command("test", verbosity=0)


def files_in(block: Block) -> list[tuple[Path, str]]:
    """Return the files that a block shows, each with its text: they begin where a line names one, ``# shop/models.py``.

    Names without a folder are Django's own of the project: ``settings.py``, ``urls.py``.
    """
    if not _FILE.match(block.text):
        return []
    parts = _FILE.split(block.text)[1:]
    return [
        (Path(name) if "/" in name else Path("mysite", name), text)
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    ]


def start_project() -> None:
    """Make the project ``mysite`` and its app ``shop``, as Django makes them."""
    for arguments in (["startproject", "mysite", "."], ["startapp", "shop"]):
        subprocess.run([sys.executable, "-m", "django", *arguments], check=True)
    append(SETTINGS, SQLITE)
    Path("mysite/celery.py").write_text(CELERY)
    Path("shop/tests.py").unlink()


def append(file: Path, text: str) -> None:
    """Add the text to a file of the project, unless it is there. ``...`` in a list stands for what was there.

    A new module of models is imported by the package, as Django needs it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and text.strip() in file.read_text():
        return
    if file.parent == MODELS.with_suffix("") and not file.exists():
        append(file.parent / "__init__.py", f"from shop.models.{file.stem} import *\n")
    text = re.sub(
        r"^(\w+) = \[[^]]*\]", lambda found: found[0].replace("...", f"*{found[1]}"), text, flags=re.MULTILINE
    )
    with file.open("a") as end:
        end.write(f"\n{text}")


if __name__ == "__main__":
    main(sys.argv[1])
