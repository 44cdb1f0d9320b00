"""How many alarms are in each state, with the change of the last ten minutes; each figure leads to its list."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from django.core.cache import cache

from durable_objects.admin.display import span
from durable_objects.admin.overview.board import TILES, Board
from durable_objects.operations import metrics

#: States that get a colour when there are any; and those that are set aside on purpose, which are no lateness.
BAD = {"overdue": "bad", "dead": "bad", "retrying": "warn"}
ASIDE = ("parked", "paused", "limited")

#: What is compared with: figures of this time ago, of which some are kept in Django's cache.
AGO, EVERY = timedelta(minutes=10), timedelta(seconds=30)
_KEY = "durable_objects:overview:figures"


def read(board: Board) -> dict[str, Any]:
    """Return the tiles."""
    counts = {state: board.counts[state] for state in TILES}
    before = _before(board.now, counts)
    line, late = board.line, board.line.late
    oldest = min((each.oldest for each in [*late, *line.on_time]), default=None)
    tiles = [
        {
            "title": title,
            "figure": metrics.counted(counts[state]),
            "kind": BAD.get(state, "") if counts[state] else "",
            "change": _change(counts[state], before, state, board.now),
            "note": f"oldest {span(board.now - oldest)}" if state == "due" and oldest else "",
            "is_aside": state in ASIDE,
            "url": board.alarms(state=state),
        }
        for state, title in TILES.items()
    ]
    return {
        "tiles": [each for each in tiles if not each["is_aside"]],
        "aside": [each for each in tiles if each["is_aside"]],
    }


def _before(now: datetime, counts: dict[str, int]) -> tuple[datetime, dict[str, int]] | None:
    """Return the figures of ten minutes ago, or the oldest since then; keep these."""
    kept: list[tuple[datetime, dict[str, int]]] = []
    with suppress(Exception):  # a cache that is away shows no change
        kept = [each for each in cache.get(_KEY) or [] if now - AGO - EVERY <= each[0] <= now]
        if not kept or now - kept[-1][0] >= EVERY:
            cache.set(_KEY, [*kept, (now, counts)], 2 * AGO.total_seconds())
    return kept[0] if kept and now - kept[0][0] >= EVERY else None


def _change(number: int, before: tuple[datetime, dict[str, int]] | None, state: str, now: datetime) -> str:
    if before is None or max(number, before[1].get(state, 0)) >= metrics.COUNTED_TO:
        return ""
    by = number - before[1].get(state, 0)
    return f"{by:+,} in {span(now - before[0])}" if by else ""
