"""Which modules the reference is made from."""

from __future__ import annotations

from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: In the order in which the reference names them.
PACKAGES = ("durable_objects", "batcher", "cleaner", "reminders", "project")


@cache
def modules() -> dict[str, Path]:
    """Return the file of each module of ours by its dotted name, the engine's first; migrations are left out."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "migrations" not in path.parts
    }
