"""Millions of pending alarms in hash partitions, against as many in tables that are whole.

    python -m benchmarks.partitions [--pending 10000000] [--into 64] [--write]

Makes a database with so many objects, each with an alarm within 30 days, copies it, and cuts the copy's tables, as
``manage.py objects partition`` does. What is measured in this process takes turns between the two; worker and
dispatcher run on the one, then on the other. Prints JSON; ``--write`` keeps it, and its table in docs/why/scale.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from benchmarks import server

ROUNDS, ADDS, FIRES, IN_A_MESSAGE, PASSES, WARM = 5, 100, 200, 100, 20, 20
PLAIN, CUT = "whole", "cut"
ALARMS = "durable_objects_alarm"

#: What is measured in turns: the figure's name, and its unit.
UNITS = {
    "add": "ms", "add, server": "ms", "fire in groups": "ms", "fire in groups, server": "ms",
    "ordinary fire": "ms", "ordinary fire, server": "ms", "pass, nothing due": "ms", "pass, server": "ms",
    "marking one that is due": "ms",
}  # fmt: skip


def fill(pending: int) -> None:
    """Store so many objects, each with its alarm."""
    from benchmarks.fill import insert
    from durable_objects.tables import Object
    from tests.models import Ticker

    kind = Ticker.kind_pk()
    # Built once the rows are there, as the copy's are: those that have grown would be compared with new ones.
    indexes = server.ask(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
        "WHERE indrelid = %s::regclass AND NOT indisprimary", ALARMS,
    )  # fmt: skip
    for name, _ in indexes:
        server.ask(f"DROP INDEX {name}")
    at = "now() + interval '1 hour' + (n * 104729) %% 2592000 * interval '1 second'"
    insert("durable_objects.object", pending, id="n", kind_id=str(kind), name="'pending-' || lpad(n::text, 9, '0')")
    server.ask("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", Object._meta.db_table, pending)
    insert(
        "durable_objects.alarm", pending, object_id="n", kind_id=str(kind), state="'armed'", scheduled_at=at, due_at=at,
        generation="1", sets="1", set_number="1",
    )  # fmt: skip
    for _, definition in indexes:
        server.ask(definition)
    server.ask("VACUUM ANALYZE")


def measured_in_turns(urls: dict[str, str]) -> dict[str, dict[str, float]]:
    """Return the median of each figure by whose it is. Each round has a session of its own, warmed up: it reads what
    each partition is, and plans statements, once.
    """
    values: dict[str, dict[str, list[float]]] = {name: {which: [] for which in urls} for name in UNITS}
    for number in range(ROUNDS + 1):
        for which, url in urls.items():
            with server.connected(url):
                _round(WARM, WARM, 2)
                for name, value in _round(ADDS, FIRES, PASSES).items():
                    if number:
                        values[name][which].append(value)
    return {name: {which: server.middle(several) for which, several in both.items()} for name, both in values.items()}


def _round(adds: int, fires: int, passes: int) -> dict[str, float]:
    from benchmarks.rows.adding import ITEM, batcher
    from durable_objects.delivery import dispatcher
    from durable_objects.execution.executor import fire
    from durable_objects.execution.groups import fire_group
    from tests.models import Once, Ticker

    one = batcher()
    figures = _each("add", adds, lambda: [one.add_item(ITEM) for _ in range(adds)])
    due, took = due_alarms(Ticker, fires)
    figures["marking one that is due"] = took
    messages = [due[n : n + IN_A_MESSAGE] for n in range(0, fires, IN_A_MESSAGE)]
    ran: list[int] = []
    figures |= _each(
        "fire in groups", fires, lambda: ran.extend(fire_group(each, Ticker.alarm_time_limit) for each in messages)
    )
    assert sum(ran) == fires, f"{sum(ran)} of {fires} alarms ran in groups"
    due, _ = due_alarms(Once, fires)
    kind = Once.kind_pk()
    figures |= _each("ordinary fire", fires, lambda: [fire(pk, number, kind_id=kind) for pk, number in due])
    whole = server.spent(lambda: [dispatcher._claim(None) for _ in range(passes)])
    return figures | {"pass, nothing due": whole.wall / passes, "pass, server": whole.server / passes}


def _each(name: str, count: int, call: Callable[[], object]) -> dict[str, float]:
    took = server.spent(call)
    return {name: took.wall / count, f"{name}, server": took.server / count}


def due_alarms(model: Any, count: int) -> tuple[list[tuple[int, int]], float]:
    """Set alarms that are due, and mark them as a pass does; return objects with their numbers, and ms for each."""
    from benchmarks.stage import unique
    from durable_objects.database import clock
    from durable_objects.delivery import claims

    prefix = unique(model.__name__)
    model.objects.set_alarms({f"{prefix}-{n}": timedelta(0) for n in range(count)})
    found: list[Any] = []
    now = clock.now()
    took = server.spent(lambda: found.extend(claims.claim(now, count, claims.unsent(now, [model.kind_pk()]))))
    assert len(found) == count, f"{len(found)} of {count} alarms were marked"
    return [(each.object_id, each.wake_up_number) for each in found], took.wall / count


def claim_plan(url: str) -> dict[str, float]:
    """Return what the server says of the query that a pass looks for due alarms with: the median of ten."""
    from durable_objects.database import clock
    from durable_objects.delivery import claims
    from tests.models import Ticker

    plans = []
    with server.connected(url):
        for _ in range(10):
            now = clock.now()
            rows = claims.unsent(now, [Ticker.kind_pk()]).filter(wake_at__lte=now).values_list("object_id")[:1_000]
            sql, params = rows.query.sql_with_params()
            [(plan,)] = server.ask(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", *params)
            plans.append((json.loads(plan) if isinstance(plan, str) else plan)[0])
    return {
        "planning (ms)": server.middle([plan["Planning Time"] for plan in plans]),
        "execution (ms)": server.middle([plan["Execution Time"] for plan in plans]),
        "buffers": server.middle([float(plan["Plan"]["Shared Hit Blocks"]) for plan in plans]),
    }


def vacuumed(url: str) -> dict[str, float]:
    """Return what a vacuum takes after one alarm in fifty was changed: all of it, and the longest that one table is
    held up.
    """
    with server.connected(url):
        server.ask(f"UPDATE {ALARMS} SET due_at = due_at + interval '1 s' WHERE object_id %% 50 = 7 AND %s", True)
        tables = [name for (name,) in server.ask(
            "SELECT relid::regclass::text FROM pg_partition_tree(%s::regclass) WHERE isleaf "
            "UNION SELECT %s::regclass::text WHERE NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = %s::regclass)",
            ALARMS, ALARMS, ALARMS,
        )]  # fmt: skip
        took = [server.spent(lambda: server.ask(f"VACUUM (PARALLEL 0, INDEX_CLEANUP ON) {table}")) for table in tables]  # noqa: B023  called at once
    return {
        "whole vacuum (s)": round(sum(each.wall for each in took) / 1e3, 2),
        "whole vacuum, CPU (s)": round(sum(each.server for each in took) / 1e3, 2),
        "longest of one table (s)": round(max(each.wall for each in took) / 1e3, 2),
    }


def run_by_processes(url: str) -> dict[str, float]:
    """Return rows 8 and 6 with a worker and a dispatcher: memory, lateness of 1,000 together, of 600 in a minute."""
    from benchmarks.rows import firing, pending
    from benchmarks.stage import Stage
    from tests.models import Ticker

    with server.connected(url):
        stage = Stage(url)
        with stage.running() as site:
            firing.lateness(site, Ticker, 100)
            measured = pending.measure(site)
        spread = firing.spread(stage).figures
    return {
        "memory of worker, dispatcher and broker (MB)": round(measured["memory"]),
        "1,000 due together: p99 (ms)": server.middle([measured["p99"]]),
        "600 in a minute: p50 (ms)": server.middle(list(spread["p50"].values)),
        "600 in a minute: p99 (ms)": server.middle(list(spread["p99"].values)),
    }


def measure(pending: int, into: int, *, with_processes: bool) -> dict[str, Any]:
    """Measure both; return all figures."""
    from django.core.management import call_command
    from django.db import connection

    from benchmarks import machine
    from tests.support import services

    seen: dict[str, Any] = {"pending": pending, "into": into, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    with services.fresh_postgresql() as plain:
        server.set_up(plain)
        call_command("migrate", verbosity=0)
        seen["machine"] = machine.describe()
        seen["filling (s)"] = _said("filled", lambda: fill(pending))
        connection.close()
        with services.fresh_postgresql(template=urlsplit(plain).path.lstrip("/")) as cut:
            begun = server.load()
            with server.connected(cut):
                seen["cutting (s)"] = _said(
                    "cut", lambda: call_command("objects", "partition", str(into), "--yes", verbosity=0)
                )
                server.ask("VACUUM ANALYZE")
            seen |= compare({PLAIN: plain, CUT: cut}, with_processes=with_processes)
            seen["loads"].insert(0, begun)
            connection.close()
    return seen


def compare(urls: dict[str, str], *, with_processes: bool) -> dict[str, Any]:
    """Measure two databases that are filled, the one as the other but for the cut; return the figures of both."""
    seen: dict[str, Any] = {"sizes": {which: _sizes(url) for which, url in urls.items()}}
    seen["turns"], seen["loads"] = measured_in_turns(urls), [server.load()]
    print("measured in turns", file=sys.stderr, flush=True)
    seen["claim"] = {which: claim_plan(url) for which, url in urls.items()}
    if with_processes:
        seen["processes"] = {which: run_by_processes(url) for which, url in urls.items()}
        print("measured with processes", file=sys.stderr, flush=True)
        seen["loads"].append(server.load())
    seen["vacuum"] = {which: vacuumed(url) for which, url in urls.items()}
    seen["loads"].append(server.load())
    return seen


def _said(what: str, call: Callable[[], object]) -> float:
    begun = time.monotonic()
    call()
    took = round(time.monotonic() - begun, 1)
    print(f"{what} in {took} s", file=sys.stderr, flush=True)
    return took


def _sizes(url: str) -> dict[str, int]:
    with server.connected(url):
        return server.sizes(ALARMS)


def table(seen: dict[str, Any]) -> str:
    """Return the part of the page."""
    lines = [
        server.measured(seen),
        "",
        f"{seen['pending']:,} pending alarms. Cutting the four tables took {seen['cutting (s)']:,.0f} s.",
        "",
        f"| what | whole | {seen['into']} partitions | ratio |",
        "|---|---|---|---|",
    ]
    for name, unit in UNITS.items():
        lines.append(_line(f"{name} ({unit})", seen["turns"][name]))
    for part in ("claim", "processes", "vacuum"):
        for name in seen.get(part, {PLAIN: {}})[PLAIN]:
            prefix = "query for what is due: " if part == "claim" else ""
            lines.append(_line(prefix + name, {which: seen[part][which][name] for which in (PLAIN, CUT)}))
    for name in seen["sizes"][PLAIN]:
        both = {which: round(seen["sizes"][which][name] / 2**20, 2) for which in (PLAIN, CUT)}
        lines.append(_line(f"alarms: {name} (MB)", both))
    return "\n".join(lines) + "\n"


def _line(name: str, both: dict[str, float]) -> str:
    ratio = f"{both[CUT] / both[PLAIN]:.2f}" if both[PLAIN] else ""
    return f"| {name} | {both[PLAIN]:,g} | {both[CUT]:,g} | {ratio} |"


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.partitions", description=__doc__)
    parser.add_argument("--pending", type=int, default=10_000_000)
    parser.add_argument("--into", type=int, default=64, help="a power of two")
    parser.add_argument("--no-processes", action="store_true", help="nothing that needs a quiet machine")
    parser.add_argument("--write", action="store_true", help="keep it in docs/why")
    options = parser.parse_args()
    seen = measure(options.pending, options.into, with_processes=not options.no_processes)
    print(json.dumps(seen, indent=1))
    if options.write:
        server.write("partitions", seen, table(seen))


if __name__ == "__main__":
    main()
