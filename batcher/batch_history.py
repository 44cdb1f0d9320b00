"""What happened to a batch, in order: each try with its answer, and what people did. Kept in the batch's own row."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from batcher.responses import Answer, plain
from batcher.tables import Batch

#: What is kept of a batch that is tried for days: how it began, and the latest.
FIRST, LAST = 10, 40
KEPT_CHARACTERS = 200
"""The characters of a try's answer that are kept; the last answer is kept whole beside it."""


@dataclass(frozen=True)
class Event:
    """Something that happened: ``what`` is ``try``, ``cut off`` (a try without a result: its process died),
    ``replayed``, ``given up`` or ``split``. ``number``, ``took`` and ``status`` are those of a try.
    """

    what: str
    at: datetime
    text: str = ""
    number: int | None = None
    took: timedelta | None = None
    status: int | None = None
    unknown: bool = False


def of(batch: Batch) -> list[Event]:
    """Return what is on record, the oldest first."""
    return [_read(each) for each in batch.history or ()]


def tried(batch: Batch, answer: Answer, now: datetime) -> None:
    """Note the try that ends now, which began at ``batch.began_at``."""
    began = batch.began_at or now
    facts = {"number": batch.attempts, "ms": (now - began) // timedelta(milliseconds=1), "status": answer.status_code}
    _note(batch, "try", began, answer.text, **facts, unknown=answer.unknown)


def cut_off(batch: Batch) -> None:
    """Note the try that began at ``batch.began_at`` and never ended."""
    if batch.began_at is not None:
        _note(batch, "cut off", batch.began_at, number=batch.attempts, unknown=True)


def note(batch: Batch, what: str, now: datetime, text: str = "") -> None:
    """Note what a person did: ``replayed``, ``given up``, ``split``."""
    _note(batch, what, now, text)


def _note(batch: Batch, what: str, at: datetime, text: str = "", **facts: Any) -> None:
    event = {"what": what, "at": at.isoformat(), "text": plain(text, KEPT_CHARACTERS), **facts}
    kept = {name: value for name, value in event.items() if value not in ("", None, False)}
    events = [*(batch.history or ()), kept]
    batch.history = events if len(events) <= FIRST + LAST else [*events[:FIRST], *events[-LAST:]]


def _read(event: dict[str, Any]) -> Event:
    facts = {**event, "at": datetime.fromisoformat(event["at"])}
    took = facts.pop("ms", None)
    return Event(**facts, took=None if took is None else timedelta(milliseconds=took))
