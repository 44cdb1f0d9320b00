"""What ran, by time and outcome, with deploys as lines; and how late that was, with what still waits."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from durable_objects.admin import charts, display
from durable_objects.admin.overview.board import Board, kept
from durable_objects.admin.overview.spans import chosen
from durable_objects.operations import metrics, processes, recent_runs
from durable_objects.operations.recent_runs import Lateness, Recent

#: By what is chosen: the time of a bar, how many, and the words for both.
SPANS = {
    "hour": (timedelta(minutes=1), 60, "minute", ("1 h ago", "30 min ago", "now")),
    "day": (timedelta(minutes=15), 96, "quarter of an hour", ("1 d ago", "12 h ago", "now")),
}
#: The order of a column, from the bottom up; all that failed has a colour of its own.
OUTCOMES = ("succeeded", "snoozed", "superseded", "failed", "dead")
KEPT = timedelta(seconds=50)


def read(board: Board) -> dict[str, Any]:
    """Return the chart and the figures below it."""
    name = chosen(board.request, "runs", SPANS)
    bar, bars, unit, axis = SPANS[name]
    span = bar * bars
    found = kept(f"runs_{name}", KEPT, lambda: recent_runs.look(board.now, bar, bars))
    late = kept(f"lateness_{name}", KEPT, lambda: recent_runs.lateness(board.now, span, board.aside) or "nothing")
    deploys = [(at, version) for at, version in processes.deploys(board.delivery.beating) if at > found.start]
    return {
        "spans": SPANS,
        "chosen": name,
        "chart": _chart(found, unit, deploys),
        "most": f"{_most(found):,}",
        "axis": axis,
        "number": metrics.counted(found.number, recent_runs.MOST),
        "failed": f"{found.failed:,}",
        "has_failed": found.failed > 0,
        "capped": f"{recent_runs.MOST:,}" if found.capped else "",
        "late": None if isinstance(late, str) else _lateness(late),
        "deploys": [f"{display.absolute(at)}: {version}" for at, version in deploys],
    }


def _most(found: Recent) -> int:
    return max(sum(each.values()) for each in found.bars)


def _chart(found: Recent, unit: str, deploys: list[tuple[datetime, str]]) -> charts.Chart:
    columns = []
    for number, outcomes in enumerate(found.bars):
        at = display.absolute(found.start + number * found.bar, "minutes")
        ran = ", ".join(f"{outcomes[outcome]:,} {outcome}" for outcome in OUTCOMES if outcomes.get(outcome))
        columns.append(([(outcomes.get(outcome, 0), outcome) for outcome in OUTCOMES], f"{at}: {ran or 'none'}"))
    whole = found.bar * len(found.bars)
    marks = [((at - found.start) / whole, f"Deployed {display.absolute(at)}: {version}") for at, version in deploys]
    label = f"Runs by {unit}: {found.number:,} in all, {found.failed:,} failed; at most {_most(found):,} in a {unit}"
    return charts.stacked(columns, label, most=_most(found), width=960, height=110, marks=marks)


def _lateness(late: Lateness) -> dict[str, Any]:
    return {
        "percentiles": [(name, display.span(getattr(late, name))) for name in ("p50", "p95", "p99")],
        "ran": metrics.counted(late.ran, recent_runs.NEWEST),
        "ran_p99": display.span(late.ran_p99) if late.ran_p99 is not None else "",
        "waiting": metrics.counted(late.waiting, recent_runs.NEWEST) if late.waiting else "",
        "oldest": display.span(late.oldest) if late.oldest is not None else "",
    }
