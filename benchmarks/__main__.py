"""``python -m benchmarks``: measure, write docs/why/performance.json, and from it table and charts in performance.md.

``--rows 1,2`` measures some and keeps the others' figures of the last run; ``--page`` only writes the page anew;
``--processes 4`` gives each worker, ours and the peers', so many: one that waits for a commit leaves a processor idle.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import server

DOCS = Path(__file__).resolve().parents[1] / "docs/why"
FIGURES = DOCS / "performance.json"
#: Rows above are measured when they are asked for by number.
LAST_OF_THE_TABLE = 19


def main() -> int:
    """Run what is asked for; 0 also when a row does not reach its target: the page says so."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", default="", help="numbers, comma separated (default: 1 to 19)")
    parser.add_argument("--processes", type=int, default=2, help="of each worker, ours and the peers' (default: 2)")
    parser.add_argument("--page", action="store_true", help="only write the page from the figures of the last run")
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the work, once, and nothing is written")
    options = parser.parse_args()
    from benchmarks import page

    os.environ["BENCH_PROCESSES"] = str(options.processes)
    if options.quick:
        os.environ["BENCH_QUICK"] = "1"
    if not options.page:
        from tests.support import services

        with services.fresh_postgresql() as url:
            _run([int(number) for number in options.rows.split(",") if number], url)
    if options.quick:
        return 0
    page.write(json.loads(FIGURES.read_text("utf-8")), DOCS)
    return 0


def _run(numbers: list[int], database_url: str) -> None:
    server.set_up(database_url)
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    from benchmarks import machine, row
    from benchmarks.stage import Stage

    rows, stage = row.load(), Stage(database_url)
    seen: dict[str, Any] = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {"rows": {}}
    if not numbers:
        seen["rows"] = {number: kept for number, kept in seen["rows"].items() if int(number) > LAST_OF_THE_TABLE}
    described = machine.describe()
    begun = time.monotonic()
    for number, each in rows.items():
        if number in numbers or (not numbers and number <= LAST_OF_THE_TABLE):
            print(f"row {number}: {each.title}", flush=True)
            entry = seen["rows"][str(number)] = _measured(each, stage)
            if numbers:  # beside rows of another day, and maybe of another machine
                entry["notes"].append(f"measured at {_now()} on {described['processor']}")
    connection.close()
    if not numbers or "at" not in seen:
        seen |= {"machine": described, "at": _now(), "seconds": round(time.monotonic() - begun)}
    if not os.environ.get("BENCH_QUICK"):
        FIGURES.write_text(json.dumps(seen, indent=1) + "\n", "utf-8")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _measured(each: Any, stage: Any) -> dict[str, Any]:
    from benchmarks.row import NotRun

    begun = time.monotonic()
    entry: dict[str, Any] = {"title": each.title, "targets": {}, "figures": {}, "ratios": {}, "notes": []}
    for name, target in each.targets.items():
        entry["targets"][name] = {"must": target.must, "aim": target.aim, "at_most": target.at_most}
    try:
        result = each.measure(stage)
    except NotRun as missing:
        entry["notes"] = [f"not run: {missing}"]
    else:
        entry["figures"] = {name: figure.as_dict() for name, figure in result.figures.items()}
        entry["ratios"], entry["notes"] = result.ratios, result.notes
    entry["seconds"] = round(time.monotonic() - begun, 1)
    for name, figure in entry["figures"].items():
        print(f"    {name}: {figure['median']:,.1f} {figure['unit']} ({figure['low']:,.1f} … {figure['high']:,.1f})")
    print(f"    {entry['ratios']} {entry['notes']} in {entry['seconds']} s", flush=True)
    return entry


if __name__ == "__main__":
    sys.exit(main())
