"""Row 3: items posted to one batcher over HTTP, against the original runtime."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measuring import QUICK, Result, side_by_side
from benchmarks.peers import original
from benchmarks.row import NotRun, Target, row
from benchmarks.stage import PRODUCTION, Stage, unique
from project.demo.processes import wait_for
from tests.support.site_processes import TOKEN, Site

CONNECTIONS, SECONDS = 64, 1 if QUICK else 4
_SCRIPT = """wrk.method = "POST"; wrk.body = string.rep("x", 100)
wrk.headers["Authorization"] = "Bearer {token}"; wrk.headers["Content-Type"] = "text/plain"
"""


@row(3, "`POST /batcher/x`, 64 connections", ratio=Target(2.0, 3.0))
def posting(stage: Stage) -> Result:
    """One server process each, on one machine with the client (wrk, one thread)."""
    if shutil.which("wrk") is None:
        raise NotRun("wrk, which sends the requests, is not here")
    with _ours(stage) as address, original.running(TOKEN) as peer:
        figures = side_by_side(
            {
                "ours": lambda: _rate(f"{address}/batcher/{unique('hot')}"),
                "the original runtime": lambda: _rate(f"{peer}/batcher/{unique('hot')}"),
            },
            "requests/s",
        )
    return Result(figures, {"ratio": figures["ours"].median / figures["the original runtime"].median})


UNLIMITED = PRODUCTION | {"API_RATE": "0"}


@contextmanager
def _ours(stage: Stage) -> Iterator[str]:
    """Gunicorn's ASGI worker, one process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    batcher = '{"MAX_ITEMS": 1000000000, "MAX_BYTES": 1000000000000, "MAX_QUEUED": 0, "WINDOW": 86400}'
    with (
        tempfile.TemporaryDirectory(prefix="durable-objects-bench-") as folder,
        Site(Path(folder), stage.database_url, "memory://", BATCHER=batcher, HTTPS="0", **UNLIMITED) as site,
    ):
        options = ["--worker-class", "asgi", "--workers", "1", "--bind", f"127.0.0.1:{port}", "--log-level", "warning"]
        site.start("web", "-m", "gunicorn", "project.asgi:application", *options)
        address = f"http://127.0.0.1:{port}"
        wait_for("the web server to listen", lambda: original._listens(port), seconds=30)
        yield address


def _rate(url: str) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SCRIPT.format(token=TOKEN))
        script.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", script.name, url]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    assert refused is None, said
    found = re.search(r"Requests/sec:\s*([\d.]+)", said)
    assert found is not None, said
    return float(found[1])
