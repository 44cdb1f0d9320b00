"""Procrastinate as a peer: tasks that do nothing, on the same PostgreSQL, by as many processes as ours.

PROCRASTINATE names a Python that has it, with psycopg (``scripts/make-peers``); without that the peer is not run.
"""

from __future__ import annotations

import subprocess

import psycopg

from benchmarks.measuring import many
from benchmarks.peers.environment import python_with

TASKS = many(1_000)

_APP = """
import asyncio, sys
import procrastinate

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=sys.argv[1]))

@app.task(name="noop")
async def noop():
    pass

async def main():
    async with app.open_async():
        if sys.argv[2] == "fill":
            if not await app.check_connection_async():
                await app.schema_manager.apply_schema_async()
            await noop.configure().batch_defer_async(*({} for _ in range(int(sys.argv[3]))))
        else:
            await app.run_worker_async(wait=False, concurrency=int(sys.argv[3]), install_signal_handlers=False)

asyncio.run(main())
"""
#: Jobs that one worker runs at a time: more is quicker, up to about here.
CONCURRENCY = 8


def rates(database_url: str, processes: int, repeats: int) -> tuple[float, ...]:
    """Tasks per second at saturation, after a warm-up. Raises ``NotRun``."""
    python = python_with("PROCRASTINATE", "Procrastinate", "procrastinate", "psycopg")
    return tuple(_rate(python, database_url, processes) for _ in range(repeats + 1))[1:]


def _rate(python: str, database_url: str, processes: int) -> float:
    subprocess.run([python, "-c", _APP, database_url, "fill", str(TASKS)], check=True, timeout=120)
    command = [python, "-c", _APP, database_url, "work", str(CONCURRENCY)]
    workers = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(processes)]
    for worker in workers:
        worker.wait(120)
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT extract(epoch FROM max(at) FILTER (WHERE type = 'succeeded') - min(at) FILTER (WHERE "
            "type = 'started'))::float8 FROM procrastinate_events WHERE job_id > (SELECT max(id) FROM "
            "procrastinate_jobs) - %s",
            [TASKS],
        ).fetchone()
    assert row is not None
    return TASKS / float(row[0])
