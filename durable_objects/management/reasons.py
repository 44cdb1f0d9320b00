"""Why a command does what cannot be undone: ``--reason``, asked for where a setting says so, and written to the log."""

from __future__ import annotations

from typing import Any

from durable_objects.management.pauses import user
from durable_objects.operations import reasons
from durable_objects.tables import Object


def add_reason(parser: Any, kept: str = "kept in the log") -> None:
    """Add ``--reason``."""
    parser.add_argument("--reason", default="", help=f"why; {kept}, required where a setting says so")


def reason_of(options: dict[str, Any]) -> str:
    """Return the reason that was given. Raises ``InvalidInput``, also where ``REQUIRE_REASON`` asks for one."""
    return reasons.read(options["reason"], required=True)


def tell(done: str, obj: Object, reason: str) -> None:
    """Write to the log what was done to an object by the user of this process, and why."""
    reasons.tell(done, obj, user(), reason)
