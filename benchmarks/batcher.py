"""A batcher in which very many items wait, against one with ten; prints one line of JSON.

    python -m benchmarks.batcher [--database URL] [--items 1000000]

The database must be empty (default: an SQLite file that goes away). The items come in as lines do by
``manage.py batcher add NAME -``. Times are medians in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

BATCH = 5000


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", default="", help="the URL of an empty database")
    parser.add_argument("--items", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = options.database or f"sqlite:///{Path(folder) / 'db.sqlite3'}"
        # Without a broker of this process's own nobody rings: the alarms run where they are measured.
        os.environ |= {
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "tests.site_settings",
            "CELERY_BROKER_URL": "memory://",
        }
        import django

        django.setup()
        print(json.dumps({"database": url.partition(":")[0], **measure(options.items)}), flush=True)


def measure(items: int) -> dict[str, Any]:
    """Every figure with ten items waiting, and with so many; their ratio."""
    from django.core.management import call_command
    from django.db import connection

    from batcher.management import bulk_add
    from batcher.models import Batcher

    call_command("migrate", verbosity=0)
    small, large = Batcher.objects.get_by_name("small"), Batcher.objects.get_by_name("large")
    small.add_items(range(10))
    began = time.monotonic()
    bulk_add.add(large, (f"line {number}\n" for number in range(items)), bulk_add.as_text, show_progress=False)
    figures: dict[str, Any] = {
        "items": items,
        "filled_per_s": round(items / (time.monotonic() - began)),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")  # as autovacuum does within a minute, where it is on
    probes: dict[str, Callable[[Batcher], object]] = {
        "add_item": lambda batcher: batcher.add_item("one more"),
        "queued": lambda batcher: batcher.queued(),
        "receipt": lambda batcher: batcher.receipt(7),
        "show": lambda batcher: call_command("batcher", "show", batcher.name, "--json", stdout=StringIO()),
    }
    for name, probe in probes.items():
        # By turns, so that whatever else the machine does hits both alike.
        rounds = [(milliseconds(probe, small), milliseconds(probe, large)) for _ in range(200)]
        figures[name] = compared(*zip(*rounds, strict=True))
    look = admin_page()
    rounds = [(milliseconds(look, small), milliseconds(look, large)) for _ in range(10)]
    figures["admin_page"] = compared(*zip(*rounds, strict=True))
    few, many = [], []
    for _ in range(5):
        small.add_items([f"line {number}" for number in range(BATCH)])
        few.append(milliseconds(seal, small))
        many.append(milliseconds(seal, large))
    figures[f"seal_{BATCH}"] = compared(few, many)
    return figures


def admin_page() -> Callable[[Any], None]:
    """Asks for a batcher's page as a superuser does."""
    from django.contrib.auth.models import User
    from django.test import Client
    from django.urls import reverse

    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.create_superuser("bench"))

    def look(batcher: Any) -> None:
        assert client.get(reverse("admin:batcher_batcher_change", args=[batcher.pk]), secure=True).status_code == 200

    return look


def seal(batcher: Any) -> None:
    """One run of the alarm: a full batch is sealed and (without an upstream) logged as delivered."""
    from durable_objects.execution import executor
    from durable_objects.operations import actions

    actions.fire_now(batcher)
    assert executor.fire(batcher.pk, retry_is_sent=False).verdict.value == "succeeded"


def milliseconds(call: Callable[[Any], object], batcher: Any) -> float:
    """How long it took."""
    began = time.perf_counter()
    call(batcher)
    return (time.perf_counter() - began) * 1000


def compared(few: Any, many: Any) -> dict[str, float]:
    """The medians, and how much longer it takes with many items waiting."""
    small, large = statistics.median(few), statistics.median(many)
    return {"few_ms": round(small, 2), "many_ms": round(large, 2), "ratio": round(large / small, 2)}


if __name__ == "__main__":
    main()
