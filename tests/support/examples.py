"""How many random examples a test of a property tries."""

from __future__ import annotations

import os


def examples(number: int) -> int:
    """Return so many in the gate (``CI``), elsewhere a tenth, at least five; TEST_EXAMPLES says another number."""
    if asked := os.environ.get("TEST_EXAMPLES"):
        return int(asked)
    return number if os.environ.get("CI") else min(number, max(5, number // 10))
