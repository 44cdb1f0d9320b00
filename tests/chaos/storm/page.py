"""Puts the figures of the last runs into docs/reliability.md: ``python -m tests.chaos.storm.page var/chaos-*.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reliability.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"

Figures = dict[str, Any]


#: Rules with a line of their own.
NAMED = {"lost", "early", "overlapping", "contents"}


def table(heads: list[str], rows: list[list[Any]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def seconds(value: float | None) -> str:
    """A span, short."""
    return "-" if value is None else f"{value:.1f} s"


def figures_of(runs: list[Figures]) -> str:
    """The summary of all runs side by side, then each fault's recovery."""
    names = [run["broker"] for run in runs]
    rows = [
        ["seed", *(run["seed"] for run in runs)],
        ["minutes of faults", *(f"{run['minutes']:g}" for run in runs)],
        ["alarms run", *(f"{run['alarms_run']:,}" for run in runs)],
        ["faults made", *(run["faults_made"] for run in runs)],
        [
            "kinds of fault, each at least",
            *(f"{len(run['faults'])}, {min(run['faults'].values())} times" for run in runs),
        ],
        *[[what.replace("_", " "), *(run[what] for run in runs)] for what in ("lost", "early", "overlapping")],
        ["keys with two contents", *(run["keys_with_two_contents"] for run in runs)],
        [
            "any other promise broken",
            *(sum(n for rule, n in run["broken"].items() if rule not in NAMED) for run in runs),
        ],
        ["late, p50 / p99", *(" / ".join(seconds(run["late_seconds"][p]) for p in ("p50", "p99")) for run in runs)],
        ["recoveries", *(run["recoveries"] for run in runs)],
        ["recovery, p50 / p99", *(_recovery(run, "all") for run in runs)],
    ]
    kinds = sorted({kind for run in runs for kind in run["faults"]})
    each = [[kind, *(f"{run['faults'].get(kind, 0)}: {_recovery(run, kind)}" for run in runs)] for kind in kinds]
    heads = [f"{name}: times made, recovery p50 / p99" for name in names]
    return f"{table(['', *names], rows)}\n{table(['fault', *heads], each)}"


def _recovery(run: Figures, kind: str) -> str:
    found = run["recovery_seconds"].get(kind, {})
    return f"{seconds(found.get('p50'))} / {seconds(found.get('p99'))}"


def write(paths: list[str]) -> None:
    """Replace what stands between the marks."""
    runs = [json.loads(Path(path).read_text("utf-8")) for path in paths]
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}{figures_of(runs)}{END}{after}", "utf-8")


if __name__ == "__main__":
    write(sys.argv[1:])
