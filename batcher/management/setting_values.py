"""A setting as it is typed: ``window=30``, ``gzip=true``, ``headers={"X": "1"}``, ``secret=-``."""

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
    """The name and the value that ``configure()`` takes; what it may be is checked there.

    Nothing means the project's setting, ``-`` a line of standard input: a secret does not belong into the list of
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
            f"the value of {name} is not what it takes: a number (times: of seconds), true or false, or a JSON object"
        ) from None
