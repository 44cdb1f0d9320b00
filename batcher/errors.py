"""The errors that a batcher raises beside the engine's own."""

from __future__ import annotations

from datetime import timedelta

from durable_objects import DurableObjectError, InvalidInput


class InvalidSetting(InvalidInput):
    """A setting of a batcher was refused and none was changed. Pass what `allowed` describes."""


class KeyReused(InvalidInput):
    """Another item came with the same key less than a day ago. Send that item, or another key."""


class QueueFull(DurableObjectError):
    """The batcher has as many undelivered items as its max_queued allows; none of these was accepted.

    Add them again after `retry_after`, or raise max_queued.
    """

    def __init__(self, message: str, retry_after: timedelta) -> None:
        super().__init__(message)
        #: When to try again: at the batcher's next try there may be capacity.
        self.retry_after = retry_after


def refusal(problem: str, allowed: str) -> InvalidSetting:
    """Build the error for a refused setting or argument."""
    error = InvalidSetting(f"{problem}. Allowed: {allowed}.")
    error.allowed = allowed
    return error
