"""A year of alarms in minutes: what the tables grow to, and whether alarms at its end are as quick as at its beginning.

    python -m benchmarks.year [--alarms 5000] [--days 365] [--write]

Each simulated quarter of a day does to the tables what its share of ``--alarms`` a day does: the engine marks them as
sent; one statement for a thousand changes the rows and columns that their runs change (a key, the slot, the history),
another sets them again; the engine prunes the history; and each table that autovacuum's rule finds ripe is vacuumed.
One object in a hundred has four alarms a day, the others one, so that both limits of the history count. Sizes go with
the number of alarms a day. Prints JSON; ``--write`` keeps it, and its table in docs/why/scale.md.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks import server

DAY, OFTEN, STEPS, DAYS_OF_A_MONTH, AT_ONCE = timedelta(days=1), 4, 4, 30, 1_000
TABLES = ("object", "alarm", "entry", "alarmrun")
FIRES, ROUNDS = 100, 5

#: PostgreSQL's defaults: a fixed part, and a share of the table.
RIPE = """
    SELECT * FROM (
        SELECT s.relname, n_dead_tup > 50 + 0.2 * reltuples OR n_ins_since_vacuum > 1000 + 0.2 * reltuples AS is_full,
               n_mod_since_analyze > 50 + 0.1 * reltuples AS is_changed
        FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid WHERE starts_with(s.relname, 'durable_objects_')
    ) tables WHERE is_full OR is_changed
"""


_STORE_ENTRIES = """
    INSERT INTO durable_objects_entry (object_id, key, value) SELECT id, 'ran', %s FROM unnest(%s) id
    ON CONFLICT (object_id, key) DO UPDATE SET value = excluded.value
"""
_STORE_RUNS = """
    INSERT INTO durable_objects_alarmrun (object_id, scheduled_at, due_at, wake_up_for, picked_up_at, started_at,
        ended_at, retry_count, fence, outcome, error, set_number)
    SELECT object_id, scheduled_at, due_at, wake_up_for, now, now, now, 0, fence, 'succeeded', '', set_number
    FROM durable_objects_alarm, (SELECT %s::timestamptz AS now) times WHERE object_id = ANY(%s)
"""
_SETTLE = """
    UPDATE durable_objects_alarm SET state = 'idle', scheduled_at = NULL, due_at = NULL, retry_count = 0,
        crashed_starts = 0, wake_ups_lost = 0, wake_up_for = NULL, last_error = '', generation = generation + 1
    WHERE object_id = ANY(%s)
"""
_SET = """
    UPDATE durable_objects_alarm SET state = 'armed', scheduled_at = at, due_at = at, generation = generation + 1,
        sets = sets + 1, set_number = sets + 1
    FROM (SELECT id, %s - random() * interval '1 minute'
        + CASE WHEN id <= %s THEN interval '1 day' ELSE interval '1 day' / %s END AS at FROM unnest(%s) id) times
    WHERE object_id = id
"""


class Year:
    """The simulated time, and what was done until then."""

    def __init__(self, alarms: int) -> None:
        from durable_objects.alarms import history
        from durable_objects.database import clock
        from tests.models import Ticker

        self.now, self.kind, self.pruning = clock.now(), Ticker.kind_pk(), history.Pruning()
        self.ran = self.pruned = self.vacuums = 0
        self.seconds: dict[str, float] = {}
        #: Objects up to this key have one alarm a day, the others ``OFTEN``.
        self.daily = alarms - OFTEN * (alarms // 100)
        self._make(self.daily + alarms // 100)

    def _make(self, objects: int) -> None:
        from benchmarks.fill import insert

        kind, name = str(self.kind), "'year-' || lpad(n::text, 9, '0')"
        insert("durable_objects.object", objects, id="n", kind_id=kind, name=name)
        server.ask("SELECT setval(pg_get_serial_sequence('durable_objects_object', 'id'), %s)", objects)
        often = f"CASE WHEN n > {self.daily} THEN {OFTEN} ELSE 1 END"
        at = f"now() + interval '1 day' + n %% 997 / 997.0 * interval '1 day' / {often}"
        insert(
            "durable_objects.alarm", objects, object_id="n", kind_id=kind, state="'armed'", scheduled_at=at, due_at=at,
            generation="1", sets="1", set_number="1",
        )  # fmt: skip
        server.ask("VACUUM ANALYZE")

    def step(self) -> None:
        """Do what a quarter of a day's alarms do, and what is done beside them."""
        from durable_objects.delivery import claims

        self.now += DAY / STEPS
        while True:
            with self._timed("marking"):
                due = claims.unsent(self.now, [self.kind]).filter(wake_at__lte=self.now)
                found = [each.object_id for each in claims.claim(self.now, AT_ONCE, due)]
            if not found:
                break
            self._run(found)
            self.ran += len(found)
        with self._timed("pruning"):
            self.pruned += self.pruning.go_on(self.now, budget=600)[0]
        with self._timed("vacuum"):
            self._vacuum()

    def _run(self, objects: list[int]) -> None:
        from django.db import transaction

        with self._timed("runs"), transaction.atomic():
            server.ask(_STORE_ENTRIES, json.dumps(self.now.isoformat()), objects)
            server.ask(_STORE_RUNS, self.now, objects)
            server.ask(_SETTLE, objects)
        with self._timed("setting"):
            server.ask(_SET, self.now, self.daily, OFTEN, objects)

    def _vacuum(self) -> None:
        server.ask("SELECT pg_stat_force_next_flush()")
        for name, is_full, _ in server.ask(RIPE):
            server.ask(f"{'VACUUM ANALYZE' if is_full else 'ANALYZE'} {name}")
            self.vacuums += is_full

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - begun


def quickness(url: str, *, with_processes: bool) -> dict[str, float]:
    """Return how quick real alarms are on these tables: p50 and p99 of fires in this process, and row 6."""
    from benchmarks.measuring import percentile
    from benchmarks.partitions import due_alarms
    from benchmarks.rows import firing
    from benchmarks.stage import Stage
    from durable_objects.execution.executor import fire
    from tests.models import Once

    kind = Once.kind_pk()
    walls: list[list[float]] = []
    servers: list[float] = []

    def fire_each() -> None:
        due, _ = due_alarms(Once, FIRES)
        each = [_milliseconds(functools.partial(fire, pk, number, kind_id=kind)) for pk, number in due]
        walls.append(each)

    for _ in range(ROUNDS + 1):
        took = server.spent(fire_each)
        servers.append(took.server / FIRES)
    found = {
        "set, mark and fire, server (ms of CPU)": server.middle(servers[1:]),
        "fire: p50 (ms)": server.middle([percentile(each, 50) for each in walls[1:]]),
        "fire: p99 (ms)": server.middle([percentile(each, 99) for each in walls[1:]]),
    }
    if with_processes:
        for name, figure in firing.spread(Stage(url)).figures.items():
            found[f"600 in a minute: {name} (ms)"] = server.middle(list(figure.values))
    return found


def _milliseconds(call: Any) -> float:
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1e3


def month_of(year: Year, day: int) -> dict[str, Any]:
    """Return how large the tables are now, and what the month took so far."""
    found: dict[str, Any] = {"day": day, "ran": year.ran, "pruned": year.pruned, "vacuums": year.vacuums}
    found["bytes"] = {name: server.sizes(f"durable_objects_{name}") for name in TABLES}
    [(found["runs"],)] = server.ask("SELECT count(*) FROM durable_objects_alarmrun")
    return found


def measure(alarms: int, days: int, *, with_processes: bool) -> dict[str, Any]:
    """Simulate so many days; return sizes by month, and how quick alarms were before and after."""
    from django.core.management import call_command
    from django.db import connection

    from benchmarks import machine
    from tests.support import services

    seen: dict[str, Any] = {"alarms": alarms, "days": days, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    with services.fresh_postgresql() as url:
        server.set_up(url)
        call_command("migrate", verbosity=0)
        seen["machine"], loads = machine.describe(), [server.load()]
        year = Year(alarms)
        seen["beginning"] = quickness(url, with_processes=with_processes)
        months, begun = [month_of(year, 0)], time.monotonic()
        for day in range(1, days + 1):
            for _ in range(STEPS):
                year.step()
            if day % DAYS_OF_A_MONTH == 0 or day == days:
                months.append(month_of(year, day))
                loads.append(server.load())
                print(f"day {day} after {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        seen |= {"months": months, "seconds": {name: round(took, 1) for name, took in year.seconds.items()}}
        seen["end"] = quickness(url, with_processes=with_processes)
        seen["loads"] = [*loads, server.load()]
        connection.close()
    return seen


def table(seen: dict[str, Any]) -> str:
    """Return the part of the page: sizes by month, then the beginning against the end."""
    months = seen["months"]
    last = months[-1]
    did = f"{last['ran']:,} runs, {last['pruned']:,} pruned from the history, {last['vacuums']:,} vacuums"
    took = ", ".join(f"{name} {seconds:,.0f}" for name, seconds in seen["seconds"].items())
    lines = [
        server.measured(seen),
        "",
        f"{seen['alarms']:,} alarms a day for {seen['days']} days: {did}. Seconds: {took}.",
        "",
        "| after days | runs kept | " + " | ".join(f"{name}: rows, indexes (MB)" for name in TABLES) + " |",
        "|---|---|" + "---|" * len(TABLES),
    ]
    for month in months:
        sizes = " | ".join(
            f"{month['bytes'][name]['table'] / 2**20:.1f}, {month['bytes'][name]['indexes'] / 2**20:.1f}"
            for name in TABLES
        )
        lines.append(f"| {month['day']} | {month['runs']:,} | {sizes} |")
    lines += ["", "| real alarms on these tables | beginning | end | ratio |", "|---|---|---|---|"]
    for name, before in seen["beginning"].items():
        after = seen["end"][name]
        lines.append(f"| {name} | {before:g} | {after:g} | {after / before:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Simulate, and print JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.year", description=__doc__)
    parser.add_argument("--alarms", type=int, default=5_000, help="a day")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--no-processes", action="store_true", help="nothing that needs a quiet machine")
    parser.add_argument("--write", action="store_true", help="keep it in docs/why")
    options = parser.parse_args()
    seen = measure(options.alarms, options.days, with_processes=not options.no_processes)
    print(json.dumps(seen, indent=1))
    if options.write:
        server.write("year", seen, table(seen))


if __name__ == "__main__":
    main()
