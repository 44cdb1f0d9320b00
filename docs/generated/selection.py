"""The qualifiers of a selection, with what each takes."""

from __future__ import annotations

from durable_objects.operations.selection import QUALIFIERS


def selection() -> str:
    """Return a table of the qualifiers."""
    rows = [f"| `{name}` | {qualifier.allowed} |" for name, qualifier in QUALIFIERS.items()]
    return "| qualifier | takes |\n|---|---|\n" + "\n".join(rows)
