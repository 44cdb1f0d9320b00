"""The Procfile, as an operator starts it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.own_brokers import OwnRedis
from tests.support.site_processes import TOKEN, Process, Site

WITHIN = 30.0


def kill_worker(honcho: Process) -> None:
    """End the Celery worker below honcho with -9."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    below = {str(honcho.pid)}
    for pid, parent, _ in sorted(rows, key=lambda row: int(row[0])):  # whoever is started later has a higher id
        below |= {pid} if parent in below else set()
    keepers = {pid for pid, _, args in rows if pid in below and args.startswith("sh scripts/keep celery")}
    [pid] = [pid for pid, parent, _ in rows if parent in keepers]
    os.kill(int(pid), signal.SIGKILL)


@pytest.mark.chaos
@pytest.mark.services("postgresql", "redis")
def test_the_procfile_runs_a_site(postgresql_url: str, tmp_path: Path) -> None:
    """``honcho start`` serves, delivers what is far, starts a worker again that ended, and ends as a whole."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with OwnRedis(tmp_path) as redis:
        engine = {"DISPATCH_EVERY": 1, "HORIZON": 1}
        given = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "BATCHER": '{"WINDOW": 3}'}
        with Site(tmp_path, postgresql_url, redis.url, engine=engine, **given) as site:
            site.migrate()
            honcho = site.start("honcho", "-m", "honcho", "start", PORT=port)
            honcho.says("Listening at")
            client = httpx.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"Authorization": f"Bearer {TOKEN}"},
                timeout=WITHIN,
                trust_env=False,
            )
            answer = client.post("/batcher/b", content=b"an item")
            assert answer.json() == {"queued": 1}
            done = "SELECT count(*) FROM durable_objects_alarmrun WHERE outcome = 'succeeded'"
            site.wait_for_rows(done, seconds=WITHIN, until=lambda rows: rows == [(1,)])
            kill_worker(honcho)
            answer = client.post("/batcher/again", content=b"an item")
            assert answer.json() == {"queued": 1}
            site.wait_for_rows(done, seconds=WITHIN, until=lambda rows: rows == [(2,)])
            client.close()
            assert honcho.stop() in {0, -15, 143}
