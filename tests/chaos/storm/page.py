"""Puts figures into docs/why/reliability.md: ``python -m tests.chaos.storm.page var/chaos-*.json``.

The runs that are given stand there as the last ones, side by side, and each has a line in the ledger, where all earlier
ones stay. ``--ledger`` in front: into the ledger only, say for a part of the faults or a run that is not the last word.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[3] / "docs/why/reliability.md"
FIGURES, LEDGER = "figures", "ledger"

Figures = dict[str, Any]


#: Rules with a line of their own.
NAMED = {"lost", "early", "overlapping", "contents", "ended", "dead"}


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
        ["dead without the handler's fault", *(run["broken"].get("dead", 0) for run in runs)],
        ["processes that ended by themselves", *(run["broken"].get("ended", 0) for run in runs)],
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


def ledger_of(lines: list[str], runs: list[Figures]) -> str:
    """The ledger with a line for each of these runs beside those that it has, by date, and the hours of all."""
    heads = ["date", "tree", "on", "seed", "minutes", "kinds", "faults", "alarms run", "violations"]
    rows = {tuple(cells[:4]): cells for cells in map(_cells, lines) if len(cells) == len(heads) and cells[3].isdigit()}
    for run in runs:
        broken = ", ".join(f"{count} {rule}" for rule, count in sorted(run["broken"].items())) or "0"
        cells = [
            run["date"], run["tree"], run["broker"], run["seed"], f"{run['minutes']:g}", len(run["faults"]),
            run["faults_made"], f"{run['alarms_run']:,}", broken,
        ]  # fmt: skip
        texts = [str(cell) for cell in cells]
        rows[tuple(texts[:4])] = texts
    ordered = sorted(rows.values())
    hours = sum(float(row[4]) for row in ordered) / 60
    faults, alarms = sum(int(row[6]) for row in ordered), sum(int(row[7].replace(",", "")) for row in ordered)
    return f"{table(heads, ordered)}\nIn all: {hours:.1f} hours, {faults:,} faults, {alarms:,} alarms.\n"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def between(text: str, name: str) -> str:
    """What stands between the marks of this name."""
    return text.partition(f"<!-- {name} -->\n")[2].partition(f"<!-- end of {name} -->\n")[0]


def replaced(text: str, name: str, by: str) -> str:
    """The text with something else between them."""
    return text.replace(
        f"<!-- {name} -->\n{between(text, name)}<!-- end of {name} -->\n",
        f"<!-- {name} -->\n{by}<!-- end of {name} -->\n",
    )


def write(arguments: list[str]) -> None:
    """Replace what stands between the marks."""
    paths = [argument for argument in arguments if argument != "--ledger"]
    runs = [json.loads(Path(path).read_text("utf-8")) for path in paths]
    text = PAGE.read_text("utf-8")
    if paths == arguments:
        text = replaced(text, FIGURES, figures_of(runs))
    text = replaced(text, LEDGER, ledger_of(between(text, LEDGER).splitlines(), runs))
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    write(sys.argv[1:])
