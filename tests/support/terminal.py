"""An output that a person reads."""

from __future__ import annotations

from io import StringIO


class Terminal(StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        """As a terminal does."""
        return True
