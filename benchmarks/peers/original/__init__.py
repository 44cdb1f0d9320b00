"""The original runtime, with the seeds' code: workerd, one process, its storage on disk.

WORKERD names its program (``scripts/make-peers`` brings it); without one the peer is not run.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.row import NotRun
from project.demo.processes import wait_for

_CONFIG = """using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = (
      modules = [(name = "worker.js", esModule = embed "worker.js")],
      compatibilityDate = "2026-02-23",
      durableObjectStorage = (localDisk = "objects"),
      durableObjectNamespaces = [(className = "Batcher", uniqueKey = "batcher", enableSql = true)],
      bindings = [
        (name = "BATCHER", durableObjectNamespace = "Batcher"),
        (name = "WINDOW_MS", text = "86400000"),
        (name = "TOKEN", text = "{token}")])),
    (name = "objects", disk = (path = "{folder}/objects", writable = true))],
  sockets = [(name = "http", address = "127.0.0.1:{port}", http = (), service = "main")]);
"""


@contextmanager
def running(token: str) -> Iterator[str]:
    """The address of it while the block lasts, on a folder that goes away. Raises ``NotRun``."""
    program = os.environ.get("WORKERD") or shutil.which("workerd")
    if not program:
        raise NotRun("the original runtime is not here: WORKERD=<its program>; with npm scripts/make-peers brings it")
    with tempfile.TemporaryDirectory(prefix="durable-objects-original-") as name:
        folder = Path(name)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (folder / "objects").mkdir()
        shutil.copy(Path(__file__).with_name("worker.js"), folder)
        config = folder / "config.capnp"
        config.write_text(_CONFIG.format(token=token, folder=folder, port=port))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [Path(program).absolute(), "serve", str(config)], cwd=folder, stdout=log, stderr=log
            )
        try:
            wait_for("the original runtime to listen", lambda: _listens(port), seconds=20)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
