"""The upstream of the demonstration, a process of its own: ``python -m project.demo.upstream FILE``.

It answers the first POST to each path as ``FIRST`` says and every further one with 200, writes each to FILE as one line
of JSON (``key``: its Idempotency-Key, ``status``: its answer, ``body``: what it got), and says its port as JSON on
standard output.
"""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FIRST = {"/": 503, "/down": 503, "/refused": 422}


def upstream_on(file: Path) -> ThreadingHTTPServer:
    """Return an HTTP server on a free port of 127.0.0.1 that writes what it gets to ``file``; call its
    ``serve_forever``.
    """
    lock = threading.Lock()
    posted: set[str] = set()

    class Upstream(BaseHTTPRequestHandler):
        """Takes one POST."""

        def do_POST(self) -> None:
            """Record the post, then answer: what was answered is in the file for certain."""
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock, file.open("a", encoding="utf-8") as written:
                status = 200 if self.path in posted else FIRST.get(self.path, 200)
                posted.add(self.path)
                got = {"key": self.headers["Idempotency-Key"], "status": status, "body": body}
                written.write(json.dumps(got) + "\n")
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent: the file is the log."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Upstream)


if __name__ == "__main__":
    server = upstream_on(Path(sys.argv[1]))
    print(json.dumps({"port": server.server_address[1]}), flush=True)
    server.serve_forever()
