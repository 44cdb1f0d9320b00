"""A worker that is cut off from the database in the middle of a turn: packets dropped, nothing reset."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tests.chaos.host import Host
from tests.chaos.own_postgres import OwnPostgres
from tests.support.site_processes import Site

pytestmark = pytest.mark.slow

#: Seconds within which the object is free again; ``alarm_time_limit``, by which the server frees it otherwise, is 15
#: minutes.
FREE_WITHIN = 60.0

#: Keeps an object: silent, or with an answer of the server's on its way when the link is cut.
KEEP = """
import django; django.setup()
from django.db import connection
from tests.models import Counter
counter = Counter.objects.get_by_name("a")
with counter.storage.transaction():
    counter.add()
    print("kept", flush=True)
    if {answered}:
        connection.cursor().execute("SELECT pg_sleep(2)")
    __import__("time").sleep(600)
"""


def is_free(url: str) -> bool:
    """Whether the object can be locked at this moment."""
    with psycopg.connect(url) as session:
        try:
            session.execute("SELECT 1 FROM durable_objects_object WHERE name = 'a' FOR NO KEY UPDATE NOWAIT")
        except psycopg.errors.LockNotAvailable:
            return False
    return True


@pytest.mark.parametrize("answered", [False, True], ids=["silent", "answered"])
def test_object_of_a_worker_that_is_cut_off_is_free_within_a_minute(tmp_path: Path, answered: bool) -> None:
    """The server gives up on it: by keepalives, or because what it sends is not acknowledged."""
    with Host() as host, OwnPostgres(host.gateway["database"]) as server:
        own = urlsplit(server.url)
        there = urlunsplit(own._replace(netloc=f"{own.username}@{host.gateway['database']}:{own.port}"))
        with Site(tmp_path, server.url, "memory://") as site:
            site.migrate()
            site.execute("from tests.models import Counter; Counter.objects.get_by_name('a').add()")
            keeping = host.inside(["-c", KEEP.format(answered=answered)])
            site.start("keeper", *keeping, DATABASE_URL=there).says("kept")
            assert not is_free(server.url)
            # On its way out of the host: what is dropped where it is sent, the kernel does not take for lost.
            with host.cut("database", directions=("out",)):
                began = time.monotonic()
                site.wait_for("the object", lambda: is_free(server.url), seconds=FREE_WITHIN)
                print(f"free after {time.monotonic() - began:.0f} s")
