"""When what is armed comes due, with the worst second by name, and a way to spread it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from durable_objects.admin import charts, display
from durable_objects.admin.overview.board import Board, kept
from durable_objects.admin.overview.spans import chosen
from durable_objects.operations import due_ahead, metrics
from durable_objects.operations.due_ahead import Ahead
from durable_objects.operations.selection import Selection

HOUR = timedelta(hours=1)
#: By what is chosen: the time of a bar, how many, the words for a bar, and the axis.
SPANS = {
    "hour": (timedelta(minutes=1), 60, "minute", ("now", "in 30 min", "in 1 h")),
    "day": (timedelta(minutes=15), 96, "quarter of an hour", ("now", "in 12 h", "in 1 d")),
    "week": (2 * HOUR, 84, "2 hours", ("now", "in 3.5 d", "in 7 d")),
}
KEPT = timedelta(seconds=50)
#: As many in one second are worth a word.
MANY = 100


def read(board: Board) -> dict[str, Any]:
    """Return the chart, and the peak if there is one."""
    name = chosen(board.request, "ahead", SPANS)
    bar, bars, unit, axis = SPANS[name]
    found = kept(f"ahead_{name}", KEPT, lambda: due_ahead.look(board.now, bar, bars))
    return {
        "spans": SPANS,
        "chosen": name,
        "chart": _chart(found, unit),
        "most": f"{max(found.counts):,}",
        "axis": axis,
        "number": metrics.counted(sum(found.counts), due_ahead.MOST),
        "unit": unit,
        "peak": _peak(board, found),
        "capped": f"{due_ahead.MOST:,}" if found.capped else "",
    }


def _chart(found: Ahead, unit: str) -> charts.Chart:
    most = max(found.counts)
    columns = [
        ([(number, "armed")], f"{display.absolute(found.start + at * found.bar, 'minutes')}: {number:,}")
        for at, number in enumerate(found.counts)
    ]
    label = f"Alarms due by {unit}: {sum(found.counts):,} in all, at most {most:,} in a {unit}"
    return charts.stacked(columns, label, most=most, width=960, height=110)


def _peak(board: Board, found: Ahead) -> dict[str, str] | None:
    if found.peak is None or found.peak[1] < MANY:
        return None
    at, number = found.peak
    second = timedelta(seconds=1)
    selection = Selection.of({"due>": at - second / 1000, "due<": at + second})
    return {
        "at": display.absolute(at),
        "number": f"{number:,}",
        "spread": board.operation("spread", str(selection)),
    }
