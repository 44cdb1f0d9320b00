"""Row 13: the embedded default, `manage.py up` on SQLite: items posted to one batcher, and alarms that run."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.measuring import QUICK, REPEATS, Figure, Result, many
from benchmarks.row import Target, row
from benchmarks.rows.posting import UNLIMITED
from benchmarks.stage import Stage, unique, wait_until
from tests.support.site_processes import TOKEN, Site

CONNECTIONS, SECONDS = 16, 1 if QUICK else 3
ALARMS, SECONDS_AHEAD = many(1_000), 3
#: Three times what it was when this was first asked for.
POSTS = 3 * 1_344

#: A client of its own: each connection asks again as soon as it is answered. Prints how many answers a second came.
_POST = """
import asyncio, sys, time
port, path, connections, seconds, token = sys.argv[1:]
request = (
    f"POST {path} HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nAuthorization: Bearer {token}\\r\\n"
    "Content-Type: text/plain\\r\\nContent-Length: 100\\r\\n\\r\\n" + 100 * "x"
).encode()

async def ask(end):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    count = 0
    while time.monotonic() < end:
        writer.write(request)
        head = (await reader.readuntil(b"\\r\\n\\r\\n")).lower()
        assert head.startswith(b"http/1.1 200"), head
        await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\\r\\n")[0]))
        count += 1
    writer.close()
    return count

async def main():
    begun = time.monotonic()
    counts = await asyncio.gather(*[ask(begun + float(seconds)) for _ in range(int(connections))])
    print(sum(counts) / (time.monotonic() - begun))

asyncio.run(main())
"""
_ARM = """
from datetime import timedelta
from tests.models import {model} as model
model.objects.set_alarms({{f"{name}-{{n}}": timedelta(seconds={ahead}) for n in range({count})}})
"""
_RUNS = """
SELECT count(*), 86400 * (julianday(max(ended_at)) - julianday(min(due_at)))
FROM durable_objects_alarmrun r JOIN durable_objects_object o ON o.id = r.object_id WHERE o.name LIKE ? || '-%'
"""


@row(13, "`manage.py up` on SQLite: POST at 16 connections, alarms", posts=Target(POSTS, POSTS))
def embedded(stage: Stage) -> Result:
    """One process does it all, with SQLite's ``synchronous`` at FULL; the client shares the processors with it."""
    with _up() as (site, port):
        _post(site, port)
        posts = [_post(site, port) for _ in range(REPEATS)]
        grouped, ordinary = ([_fire(site, model) for _ in range(REPEATS)] for model in ("Ticker", "Once"))
    figures = {
        "posts": Figure(tuple(posts), "requests/s"),
        "alarms, grouped": Figure(tuple(grouped), "alarms/s"),
        "alarms, ordinary": Figure(tuple(ordinary), "alarms/s"),
    }
    return Result(figures, {"posts": figures["posts"].median})


@contextmanager
def _up() -> Iterator[tuple[Site, int]]:
    """A site of one process, and its port."""
    batcher = '{"MAX_ITEMS": 100000, "MAX_BYTES": 100000000, "MAX_QUEUED": 0, "WINDOW": 86400}'
    with tempfile.TemporaryDirectory(prefix="durable-objects-bench-") as name:
        folder = Path(name)
        database = f"sqlite:///{folder / 'db.sqlite3'}"
        with Site(folder, database, "memory://", BATCHER=batcher, HTTPS="0", **UNLIMITED) as site, site.up() as client:
            yield site, client.base_url.port or 80


def _post(site: Site, port: int) -> float:
    """Answers a second, of one batcher."""
    arguments = [str(port), f"/batcher/{unique('hot')}", str(CONNECTIONS), str(SECONDS), TOKEN]
    return float(site.run("-c", _POST, *arguments, seconds=SECONDS + 30))


def _fire(site: Site, model: str) -> float:
    """Alarms a second, all due at once, from then until the last has run."""
    name = unique(model.lower())
    site.execute(_ARM.format(model=model, name=name, ahead=SECONDS_AHEAD, count=ALARMS))
    wait_until("all to have run", lambda: _runs(site, name)[0] >= ALARMS, 60)
    return ALARMS / _runs(site, name)[1]


def _runs(site: Site, name: str) -> tuple[int, float]:
    with closing(sqlite3.connect(site.database_url.removeprefix("sqlite:///"), timeout=10)) as database:
        ((count, seconds),) = database.execute(_RUNS, [name])
    return count, seconds or 0.0
