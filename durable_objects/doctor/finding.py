"""One thing that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Finding:
    """``text`` says what is wrong, ``advice`` what to do; ``fix`` repairs it and says in words what it did.

    A finding that ``is_trouble`` breaks or threatens a promise; any other only wants to be known. ``state`` names the
    alarms that it is about (``states.STATES``), where there is such a list.
    """

    code: str
    text: str
    advice: str
    is_trouble: bool = True
    fix: Callable[[], str] | None = None
    state: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "code": self.code,
            "trouble": self.is_trouble,
            "text": self.text,
            "advice": self.advice,
            "fixable": self.fix is not None,
        }


Question = Callable[[datetime], Iterable[Finding]]
