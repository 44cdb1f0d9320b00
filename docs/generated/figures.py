"""The few figures that somebody chooses by, of the measurements in docs/why/performance.json."""

from __future__ import annotations

import json
from typing import Any

from docs.generated.sources import ROOT

MEASURED = ROOT / "docs" / "why" / "performance.json"
#: What each line is about, and what it shows: the row of the measurements, the figure's name there and here.
LINES: dict[str, list[tuple[str, str, str]]] = {
    "Calls a second on one object": [
        ("1", "ours", "by one caller"),
        ("2", "16 threads", "by 16 threads of a process, which share turns"),
    ],
    "Alarms run a second": [
        ("4", "ours, grouped", "in groups"),
        ("4", "ours, ordinary", "of ordinary classes"),
        ("4", "Celery, no-op", "Celery's no-op tasks"),
        ("4", "Celery by hand, connections kept", "Celery's tasks that lock and save a row"),
        ("4", "Procrastinate, no-op", "Procrastinate's"),
    ],
    "1,000 due in the same second: late by (p99)": [
        ("5", "ours, grouped", "in groups"),
        ("5", "ours, ordinary", "of ordinary classes"),
        ("5", "Celery, ETA", "Celery's ETA tasks"),
    ],
    "600 spread over a minute: late by": [("6", "p50", "in the middle"), ("6", "p99", "at p99")],
    "Memory of the processes, with alarms for tomorrow": [
        ("8", "memory, 1,000 pending", "with 1,000"),
        ("8", "memory, 1,000,000 pending", "with 1,000,000"),
    ],
}


def figures() -> str:
    """Return a table of these figures, to two digits."""
    rows: dict[str, Any] = json.loads(MEASURED.read_text("utf-8"))["rows"]
    table = ["| what | figures |", "|---|---|"]
    for what, shown in LINES.items():
        each = (f"{_rounded(rows[row]['figures'][name])} {words}" for row, name, words in shown)
        table.append(f"| {what} | {', '.join(each)} |")
    return "\n".join(table)


def _rounded(figure: dict[str, Any]) -> str:
    """Return the median to two digits, with its unit unless that is a rate, which the line names."""
    median = float(f"{figure['median']:.2g}")
    unit = "" if "/" in figure["unit"] else f" {figure['unit']}"
    return f"{median:,.0f}{unit}" if median >= 10 else f"{median:g}{unit}"
