"""PostgreSQL from inside: what its process has spent on a CPU, and how large tables and indexes are."""

from __future__ import annotations

import json
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DOCS = Path(__file__).resolve().parents[1] / "docs/why"
#: The load that a measurement makes by itself, at most.
NOTHING_ELSE = 2.0


def set_up(database_url: str) -> None:
    """Set Django up as the benchmark has it, on this database. A run that is asked to end (SIGTERM, `timeout`) ends its
    processes and drops its databases, as after Ctrl-C.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.update(
        DJANGO_SETTINGS_MODULE="tests.site_settings", DATABASE_URL=database_url, CELERY_BROKER_URL="memory://",
        DEBUG="0", ALLOWED_HOSTS="*", SECRET_KEY="x" * 50, API_TOKENS="a-token-of-the-tests",
        BATCHER=json.dumps({"MAX_ITEMS": 10**9, "MAX_BYTES": 10**12, "MAX_QUEUED": 0, "WINDOW": 86_400}),
    )  # fmt: skip
    import django

    django.setup()


@contextmanager
def connected(database_url: str) -> Iterator[None]:
    """Django's connection to another database of the same server, for the block."""
    from django.db import connection

    connection.close()
    before = connection.settings_dict["NAME"]
    connection.settings_dict["NAME"] = urlsplit(database_url).path.lstrip("/")
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before


def ask(sql: str, *params: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        rows: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
        return rows


@dataclass(frozen=True)
class Spent:
    """What a block took, in milliseconds: on the clock, of this process's CPU, of PostgreSQL's process's."""

    wall: float
    ours: float
    server: float


def spent(call: Callable[[], object]) -> Spent:
    """Call it, and return what it took. The server's process is the one that Django's connection has."""
    [(pid,)] = ask("SELECT pg_backend_pid()")
    schedule = Path(f"/proc/{pid}/schedstat")
    wall, ours, server = time.perf_counter(), time.process_time(), _on_cpu(schedule)
    call()
    took = (_on_cpu(schedule) - server) / 1e6
    return Spent((time.perf_counter() - wall) * 1e3, (time.process_time() - ours) * 1e3, took)


def _on_cpu(schedule: Path) -> int:
    return int(schedule.read_text().split()[0])


def middle(values: list[float]) -> float:
    """Return the median, to three digits."""
    return float(f"{statistics.median(values):.3g}")


def sizes(table: str) -> dict[str, int]:
    """Return the bytes of a table with all its partitions, of its indexes, and of the largest of these."""
    parts = "SELECT relid FROM pg_partition_tree(%s::regclass) WHERE isleaf UNION SELECT %s::regclass"
    [(heap,)] = ask(f"SELECT sum(pg_table_size(relid)) FROM ({parts}) parts", table, table)
    each = f"SELECT pg_relation_size(indexrelid) AS size FROM pg_index WHERE indrelid IN ({parts})"
    [(indexes, largest)] = ask(f"SELECT sum(size), max(size) FROM ({each}) indexes", table, table)
    return {"table": int(heap), "indexes": int(indexes), "largest index": int(largest)}


def load() -> float:
    """Return how many processes wanted a CPU in the last minute."""
    return round(os.getloadavg()[0], 1)


def measured(seen: dict[str, Any]) -> str:
    """Return when and on what it was measured, in words."""
    machine, loads = seen["machine"], seen["loads"]
    where = f"{machine['processor']}, {machine['memory']}, PostgreSQL {machine['postgresql']}"
    others = "had nothing else to do" if max(loads) <= NOTHING_ELSE else "was shared with other work"
    shared = f"The machine {others} then: load {min(loads)} to {max(loads)}"
    return f"Measured at {seen['at']} on {where}. {shared}."


def write(name: str, figures: dict[str, Any], table: str) -> None:
    """Write ``docs/why/NAME.json``, and the table between the marks of that name in docs/why/scale.md."""
    (DOCS / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    page = DOCS / "scale.md"
    begin, end = (
        f"<!-- written by python -m benchmarks.{name} -->\n",
        f"<!-- end of what benchmarks.{name} writes -->\n",
    )
    before, _, rest = page.read_text("utf-8").partition(begin)
    page.write_text(f"{before}{begin}{table}{end}{rest.partition(end)[2]}", "utf-8")
