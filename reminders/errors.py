"""The error for an argument that is refused, with what is allowed."""

from __future__ import annotations

from durable_objects import InvalidInput


def refusal(problem: str, allowed: str, kind: type[InvalidInput] = InvalidInput) -> InvalidInput:
    """Return the error for bad input, whose text and ``allowed`` say what would be accepted."""
    error = kind(f"{problem}. Allowed: {allowed}.")
    error.allowed = allowed
    return error
