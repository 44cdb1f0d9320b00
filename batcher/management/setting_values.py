"""Read a setting as it is typed: ``window=30``, ``gzip=true``, ``headers={"X": "1"}``, ``secret=-``."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError

from durable_objects.management.base import lines_of

SPANS = {"window", "quiet", "give_up_after"}
TEXTS = {"upstream_url", "secret"}


def change(name: str, text: str) -> tuple[str, Any]:
    """Return the name and the value that ``configure()`` takes, which checks it.

    Empty means the project's setting, ``-`` a line of standard input: a secret must not appear in the list of
    processes or the shell's history.
    """
    if text == "-":
        text = next(lines_of(sys.stdin), "").strip()
    if not text:
        return name, None
    if name in TEXTS:
        return name, "" if text == '""' else text
    try:
        value = json.loads(text)
        return name, timedelta(seconds=value) if name in SPANS else value
    except (ValueError, TypeError, OverflowError):
        raise CommandError(
            f"could not read the value of {name}. Allowed: a number (times: in seconds), true, false, or a JSON object"
        ) from None
