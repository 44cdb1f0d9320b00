"""What the demonstration does inside the demo's own database, in a process of its own that has no worker:

``python -m project.demo.database_steps prepare UPSTREAM_URL`` configures the batchers; ``… clean`` puts one old and one
fresh entry into a cleaner and sets it to clean every second; ``… look`` changes nothing. Each prints the cleaner's keys
as JSON, as they were before it cleans. A running server learns of all this through the database alone.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta

import django

BATCHER = "demo"
PENDING_BATCHER = "pending"
#: Their upstreams are down, and refuse, the first batch.
UNLUCKY_BATCHER, REFUSED_BATCHER = "unlucky", "refused"
CLEANER = "demo"
OLD, FRESH = "seen two days ago", "seen just now"
#: Long enough for all lines to come in on a slow machine, so that they are one batch.
WINDOW = timedelta(seconds=8)
#: Over before a killed server is back.
PENDING_WINDOW = timedelta(seconds=2)
SHORT_WINDOW = timedelta(milliseconds=500)


def prepare(upstream_url: str) -> None:
    """Point the batchers at the upstream, with short windows."""
    from batcher.models import Batcher

    Batcher.objects.get_by_name(BATCHER).configure(upstream_url=upstream_url, window=WINDOW)
    Batcher.objects.get_by_name(PENDING_BATCHER).configure(upstream_url=upstream_url, window=PENDING_WINDOW)
    for name, path in ((UNLUCKY_BATCHER, "down"), (REFUSED_BATCHER, "refused")):
        batcher = Batcher.objects.get_by_name(name)
        batcher.configure(upstream_url=upstream_url + path, window=SHORT_WINDOW, max_retries=0)


def fill() -> None:
    """Put an entry that is two days old and one of now into the cleaner."""
    from cleaner.models import PeriodicCleaner
    from durable_objects import now

    moment = now()
    old, fresh = {"timestamp": moment - timedelta(days=2)}, {"timestamp": moment}
    PeriodicCleaner.objects.get_by_name(CLEANER).storage.put_many({OLD: old, FRESH: fresh})


def clean() -> None:
    """Let the cleaner clean every second what is older than a day."""
    from cleaner.models import PeriodicCleaner

    cleaner = PeriodicCleaner.objects.get_by_name(CLEANER)
    cleaner.configure(interval=timedelta(seconds=1), max_age=timedelta(days=1))


def entries() -> list[str]:
    """Return the keys of the cleaner's entries."""
    from cleaner.models import PeriodicCleaner

    return list(PeriodicCleaner.objects.get_by_name(CLEANER).storage.list())


if __name__ == "__main__":
    django.setup()
    verb, *arguments = sys.argv[1:]
    if verb == "prepare":
        prepare(*arguments)
    if verb == "clean":
        fill()
    print(json.dumps({"entries": entries()}), flush=True)
    if verb == "clean":
        clean()
