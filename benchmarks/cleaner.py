"""A cleaner with very many entries on PostgreSQL, against one raw DELETE of the same rows; prints one line of JSON.

    python -m benchmarks.cleaner --database postgresql://… [--total 2000000] [--expired 1000000] [--keys random]

The database must be empty. While the cleaner works (and while the raw DELETEs do), another process writes to it every
few ms and looks at how long the cleaner's transaction has been open.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

NAME = "big"
EVERY = 0.01
#: Old and young entries take turns. Keys come in the order of insertion, as they do when they hold a number or a time,
#: or in none at all, as random ones do: then each entry is on another page of the table than the one before.
KEYS = {"ordered": "'visit-' || lpad(i::text, 10, '0')", "random": "md5(i::text)"}
FILL = """
INSERT INTO durable_objects_entry (object_id, key, value)
SELECT %(object)s, {key}, format('{{"timestamp":%%s,"page":"/p/%%s","user":{{"id":%%s}}}}',
    CASE WHEN i * %(expired)s / %(total)s > (i - 1) * %(expired)s / %(total)s THEN %(old)s ELSE %(young)s END, i, i)
FROM generate_series(1, %(total)s::bigint) AS i
"""


def main() -> None:
    """Measure, or be the other process (``--beside``)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", required=True, help="an empty PostgreSQL database")
    parser.add_argument("--total", type=int, default=2_000_000)
    parser.add_argument("--expired", type=int, default=1_000_000)
    parser.add_argument("--keys", choices=KEYS, default="ordered")
    parser.add_argument("--beside", type=int, metavar="PID", help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ |= {"DATABASE_URL": options.database, "DJANGO_SETTINGS_MODULE": "tests.site_settings"}
    import django

    django.setup()
    print(json.dumps(beside(options.beside) if options.beside else measure(options)), flush=True)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The rates, the waits of the other process, and the memory."""
    from django.core.management import call_command

    from cleaner.models import PeriodicCleaner

    call_command("migrate", verbosity=0)
    cleaner = PeriodicCleaner.objects.get_by_name(NAME)
    cleaner.configure(max_age=timedelta(days=1))
    rows = Rows(cleaner.pk, options)
    rows.fill()
    by_id = with_company(rows.raw_delete_by_id)["result"]
    before_it = with_company(rows.raw_delete_by_condition)["result"]
    rows.fill()
    alone = with_company(lambda: time.sleep(3))
    memory: list[float] = []
    before = resident()
    cleaned = with_company(lambda: cleaner.cleanup(on_chunk=lambda examined, removed: memory.append(resident())))
    report, left = cleaner.last_report(), rows.count()
    rows.fill()
    by_condition = (before_it + with_company(rows.raw_delete_by_condition)["result"]) / 2
    assert report is not None
    assert report["removed"] == options.expired, report
    assert left == options.total - options.expired + 1, "what was left, and the key that the other one writes"
    return {
        "total": options.total,
        "expired": options.expired,
        "keys": options.keys,
        "raw_delete_by_condition_rows_per_s": round(options.expired / by_condition),
        "raw_delete_by_id_rows_per_s": round(options.expired / by_id),
        "cleaner_seconds": round(cleaned["seconds"], 2),
        "cleaner_rows_per_s": round(options.expired / cleaned["seconds"]),
        "of_raw_by_condition": round(by_condition / cleaned["seconds"], 3),
        "of_raw_by_id": round(by_id / cleaned["seconds"], 3),
        "chunks": report["chunks"],
        "longest_chunk_ms": round(report["longest_chunk"].total_seconds() * 1000, 1),
        "writes_beside_alone": alone["beside"],
        "writes_beside": cleaned["beside"],
        "memory_mib": {"before": before, "highest": max(memory), "after": resident()},
    }


class Rows:
    """The entries of one object, by SQL."""

    def __init__(self, object_id: int, options: argparse.Namespace) -> None:
        moment = int(time.time() * 1000)
        old, young = moment - 86_400_000 * 2, moment
        counts = {"expired": options.expired, "total": options.total}
        self.params = {"object": object_id, "old": old, "young": young, **counts}
        self.key, self.bound = KEYS[options.keys], moment - 86_400_000

    def fill(self) -> None:
        """Make them anew, then let the database settle."""
        self.run("TRUNCATE durable_objects_entry")
        self.run(FILL.format(key=self.key), self.params)
        self.run("VACUUM ANALYZE durable_objects_entry")
        self.run("CHECKPOINT")

    def raw_delete_by_condition(self) -> float:
        """Seconds of one DELETE as a person writes it."""
        return self.run(
            "DELETE FROM durable_objects_entry WHERE object_id = %s AND (value::json ->> 'timestamp')::numeric < %s",
            [self.params["object"], self.bound],
        )

    def raw_delete_by_id(self) -> float:
        """Seconds of one DELETE that is told which rows, the least that any can take. Not committed."""
        from django.db import transaction

        self.run(
            "CREATE TABLE doomed AS SELECT id FROM durable_objects_entry "
            "WHERE object_id = %s AND (value::json ->> 'timestamp')::numeric < %s",
            [self.params["object"], self.bound],
        )
        self.run("ANALYZE doomed")
        with transaction.atomic():
            seconds = self.run("DELETE FROM durable_objects_entry WHERE id IN (SELECT id FROM doomed)")
            transaction.set_rollback(True)
        self.run("DROP TABLE doomed")
        self.run("VACUUM durable_objects_entry")
        self.run("CHECKPOINT")
        return seconds

    def count(self) -> int:
        """How many there are."""
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM durable_objects_entry WHERE object_id = %s", [self.params["object"]])
            return int(cursor.fetchone()[0])

    def run(self, sql: str, params: Any = None) -> float:
        """Seconds that a statement took, its commit included."""
        from django.db import connection

        begun = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
        return time.perf_counter() - begun


def with_company(work: Callable[[], object]) -> dict[str, Any]:
    """Do something while another process writes to the cleaner; what came of it, and how that one fared."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    command = [sys.executable, "-m", "benchmarks.cleaner", *sys.argv[1:], "--beside", str(pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        begun = time.perf_counter()
        result = work()
        took = time.perf_counter() - begun
        answer, _ = other.communicate()
    return {"result": result, "seconds": took, "beside": json.loads(answer)}


def beside(pid: int) -> dict[str, Any]:
    """Write to the cleaner every few ms until standard input ends, and look at the transaction of that session."""
    from cleaner.models import PeriodicCleaner

    cleaner, waits = PeriodicCleaner.objects.get_by_name(NAME), list[float]()
    ended = threading.Event()
    watching = Watching(pid, ended)
    cleaner.storage.put("~", 0)

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    watching.start()
    print("ready", flush=True)
    while not ended.wait(EVERY):
        begun = time.perf_counter()
        cleaner.storage.put("~", len(waits))
        waits.append((time.perf_counter() - begun) * 1000)
    watching.join(5)
    waits.sort()
    ranks = {"p50": 0.5, "p99": 0.99, "longest": 1.0}
    figures = {f"{name}_ms": round(waits[int((len(waits) - 1) * rank)], 1) for name, rank in ranks.items()}
    return {"writes": len(waits), **figures, "longest_transaction_seen_ms": round(watching.longest * 1000, 1)}


class Watching(threading.Thread):
    """Asks the server how long a session's transaction has been open."""

    def __init__(self, pid: int, ended: threading.Event) -> None:
        super().__init__(daemon=True)
        self.longest = 0.0
        self._pid, self._ended = pid, ended

    def run(self) -> None:
        """Until it is over."""
        from django.db import connection

        sql = "SELECT extract(epoch FROM clock_timestamp() - xact_start) FROM pg_stat_activity WHERE pid = %s"
        while not self._ended.wait(EVERY):
            with connection.cursor() as cursor:
                cursor.execute(sql, [self._pid])
                row = cursor.fetchone()
            self.longest = max(self.longest, float(row[0] or 0) if row else 0.0)
        connection.close()


def resident() -> float:
    """Memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return round(pages * resource.getpagesize() / 2**20, 1)


if __name__ == "__main__":
    main()
