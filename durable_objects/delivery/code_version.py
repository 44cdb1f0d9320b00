"""Which version of the project's code runs in this process, so that pages can tell old processes from new ones."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from django.apps import apps

from durable_objects import kinds
from durable_objects.conf import engine

#: Characters of the digest that stands for a version where the project names none.
DIGITS = 8


def code_version() -> str:
    """Return ``DURABLE_OBJECTS["CODE_VERSION"]``; without one a digest of the source of all apps that have durable
    objects: the same wherever the same code runs, and another one after a deploy that changed them.
    """
    return str(engine.CODE_VERSION) or _digest()


@functools.cache
def _digest() -> str:
    labels = {model._meta.app_label for model in kinds.classes()}
    folders = {label: Path(apps.get_app_config(label).path) for label in sorted(labels)}
    digest = hashlib.sha256()
    for label, folder in folders.items():
        for file in sorted(folder.rglob("*.py")):
            digest.update(f"{label}/{file.relative_to(folder)}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:DIGITS] if folders else ""
