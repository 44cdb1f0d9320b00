"""The history: one file per process, one JSON line per event, written at once, so that ``kill -9`` loses none.

Each event has ``e`` (what), ``m`` (``time.monotonic()``: one clock for all processes of a machine, whatever their
wall clocks say), ``pid`` and ``role``. Every process may write; only the checker reads.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

#: The folder of the history, and what this process is in it. Without a folder nothing is written.
FOLDER, ROLE = os.environ.get("CHAOS_HISTORY", ""), os.environ.get("CHAOS_ROLE", "")

#: The target of a pause of everything; others have a class's or an object's name.
EVERYTHING = "everything"

Event = dict[str, Any]
_files: dict[int, int] = {}


def begin(folder: Path, role: str) -> None:
    """Write into this folder from now on."""
    global FOLDER, ROLE
    FOLDER, ROLE = str(folder), role
    _files.clear()


def note(event: str, **fields: Any) -> None:
    """Append an event."""
    if not FOLDER:
        return
    pid = os.getpid()
    if pid not in _files:  # a forked child writes a file of its own
        path = Path(FOLDER) / f"{ROLE}-{pid}.jsonl"
        _files[pid] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    line = json.dumps({"e": event, "m": round(time.monotonic(), 6), "pid": pid, "role": ROLE, **fields})
    os.write(_files[pid], line.encode() + b"\n")


def read(folder: Path) -> list[Event]:
    """All events of all processes, in their order."""
    lines = [line for path in folder.glob("*.jsonl") for line in path.read_text("utf-8").splitlines()]
    return sorted(map(json.loads, lines), key=lambda event: float(event["m"]))
