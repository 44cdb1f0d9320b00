"""What a question of the doctor finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Finding:
    """``text`` says what is wrong, ``advice`` what to do; ``fix`` repairs it and returns a sentence on what it did.

    A finding that ``is_trouble`` breaks or threatens a promise; any other is a notice. ``state`` names the list of
    alarms that it is about (one of ``alarms.queries.STATES``), if there is one.
    """

    code: str
    text: str
    advice: str
    is_trouble: bool = True
    fix: Callable[[], str] | None = None
    state: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "code": self.code,
            "trouble": self.is_trouble,
            "text": self.text,
            "advice": self.advice,
            "fixable": self.fix is not None,
        }


Question = Callable[[datetime], Iterable[Finding]]
