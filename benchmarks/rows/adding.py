"""Rows 1, 2, 9, 10: items added to one batcher, and what a turn costs on the wire."""

from __future__ import annotations

import threading
from datetime import timedelta

from django.db import connection, connections

from batcher.models import Batcher
from benchmarks.counting import counted
from benchmarks.measuring import REPEATS, Figure, Result, many, per_second, side_by_side
from benchmarks.peers.floor import Floor
from benchmarks.row import Target, row
from benchmarks.stage import Stage, unique
from durable_objects.execution.executor import fire
from tests.models import Once

ITEM = "x" * 100
THREADS = 16
TURNS = 50
MANY = many(1_000_000)


def batcher() -> Batcher:
    """One with its alarm set, in a day."""
    made = Batcher.objects.get_by_name(unique("batcher"))
    made.configure(window=timedelta(days=1))
    made.add_item(ITEM)
    return made


@row(1, "`add_item`, one caller", ratio=Target(0.85, 0.9))
def one_caller(stage: Stage) -> Result:
    """Ours against the floor, in turn."""
    object_ = batcher()
    floor = Floor(stage.database_url, batcher().pk)
    figures = side_by_side(
        {
            "ours": lambda: per_second(lambda: object_.add_item(ITEM)),
            "hand-written psycopg": lambda: per_second(lambda: floor.add(ITEM)),
        },
        "adds/s",
    )
    return Result(figures, {"ratio": figures["ours"].median / figures["hand-written psycopg"].median})


@row(2, "`add_item`, 16 threads on one object", ratio=Target(7, 10))
def many_threads(stage: Stage) -> Result:
    """Threads against one caller, in turn."""
    object_ = batcher()
    figures = side_by_side(
        {
            "16 threads": lambda: _by_threads(object_.name),
            "one caller": lambda: per_second(lambda: object_.add_item(ITEM)),
        },
        "adds/s",
    )
    return Result(figures, {"ratio": figures["16 threads"].median / figures["one caller"].median})


@row(9, "`add_item` with 1,000,000 items stored, against 10", ratio=Target(1.2, 1.0, at_most=True))
def many_stored(stage: Stage) -> Result:
    """Time of one add."""
    few, full = batcher(), batcher()
    for _ in range(9):
        few.add_item(ITEM)
    _store(full, MANY)
    figures = side_by_side(
        {
            "1,000,000 stored": lambda: 1e6 / per_second(lambda: full.add_item(ITEM)),
            "10 stored": lambda: 1e6 / per_second(lambda: few.add_item(ITEM)),
        },
        "µs/add",
    )
    return Result(figures, {"ratio": figures["1,000,000 stored"].median / figures["10 stored"].median})


@row(10, "Round trips of a turn", add=Target(5, 3, at_most=True), fire=Target(2, 2, at_most=True))
def round_trips(stage: Stage) -> Result:
    """Counted by a proxy in front of PostgreSQL."""
    object_, figures = batcher(), {}
    once, kind_id = [Once.objects.get_by_name(unique("once")) for _ in range(TURNS * REPEATS + 1)], Once.kind_pk()
    for each in once:
        each.storage.set_alarm(timedelta(0))
    with counted() as wire:
        object_.add_item(ITEM)
        fire(once.pop().pk, kind_id=kind_id)
        adds = [wire.during(lambda: [object_.add_item(ITEM) for _ in range(TURNS)]) / TURNS for _ in range(REPEATS)]
        fires = [
            wire.during(lambda: [fire(once.pop().pk, kind_id=kind_id) for _ in range(TURNS)]) / TURNS
            for _ in range(REPEATS)
        ]
    figures = {"add": Figure(tuple(adds), "round trips"), "fire": Figure(tuple(fires), "round trips")}
    return Result(figures, {name: figure.median for name, figure in figures.items()})


def _by_threads(name: str) -> float:
    rates: list[float] = []

    def work() -> None:
        mine = Batcher.objects.get_by_name(name)
        mine.add_item(ITEM)
        rates.append(per_second(lambda: mine.add_item(ITEM)))
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates)


def _store(target: Batcher, count: int) -> None:
    """Items as ``add_item`` stores them, by one statement."""
    first = target.storage.get("line")["tail"]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO durable_objects_entry (object_id, key, value) "
            "SELECT %s, 'item:' || lpad(n::text, 20, '0'), value FROM generate_series(%s, %s) n, "
            "(SELECT value FROM durable_objects_entry WHERE object_id = %s AND key LIKE 'item:%%' LIMIT 1) one",
            [target.pk, first, first + count - 1, target.pk],
        )
        cursor.execute("ANALYZE durable_objects_entry")
    line = target.storage.get("line")
    target.storage.put("line", line | {"tail": first + count, "bytes": line["bytes"] * count})
