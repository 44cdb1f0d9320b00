"""``manage.py up``: the whole system in one process."""

from __future__ import annotations

import json
import os
import signal
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections

from durable_objects import embedding, now
from durable_objects.http import tokens
from durable_objects.http.conf import http
from durable_objects.management.base import PlainCommand
from project.asgi_application import asgi_application
from project.embedded.dispatcher import Dispatcher
from project.embedded.first_admin import make_admin
from project.embedded.web import WebServer, listening_socket
from project.embedded.worker import EmbeddedWorker
from project.environment import kept_secret

#: What a stop may take in all; whatever still runs then is cut off, and runs again after the next start.
SECONDS_TO_STOP = 4.0
#: How soon a signal, or the end of a thread, is seen.
SECONDS_PER_LOOK = 0.2
#: Of those that Django answers; each has a thread and a connection to the database. SQLite has one writer anyway.
REQUESTS_AT_A_TIME = 8
#: What the start waits for others that write to the same SQLite file.
SECONDS_TO_BEGIN = 60.0


class Command(PlainCommand):
    """Migrates, then runs the web server, the dispatcher and (on the memory broker) a Celery worker until Ctrl-C."""

    help = "Run web server, worker and dispatcher in this one process until Ctrl-C. A second Ctrl-C ends it at once."

    stop_asked = False
    only_json = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add ``--host``, ``--port``, ``--json`` and ``--no-admin``."""
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
        parser.add_argument("--port", type=port_number, help="port, 0 for any free one (default: PORT, 8000 or free)")
        parser.add_argument("--json", action="store_true", help="when ready, print one line of JSON and nothing else")
        parser.add_argument("--no-admin", action="store_true", help="make no admin login")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until a signal; returns after a clean stop. Raises ``CommandError`` with what to do about it."""
        self.outlive_streams()
        self.only_json = options["json"]
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.ask_to_stop)
        port = options["port"] if options["port"] is not None else settings.PORT
        listener = listening_socket(options["host"], port)
        with patient():
            call_command("migrate", interactive=False, verbosity=0)
            token = self.token()
            admin = None if options["no_admin"] else make_admin()
        worker = self.worker()
        dispatcher = Dispatcher()
        web = WebServer(asgi_application(REQUESTS_AT_A_TIME), listener)
        connections.close_all()
        web.start()
        dispatcher.start()
        embedding.begin_heartbeat()
        self.announce(options, address_of(options["host"], web.port), token, admin, worker is not None)
        died = self.wait(web, dispatcher, worker)
        self.stop(web, dispatcher, worker, died)

    def token(self) -> str:
        """Return the token to use the HTTP interface with; in development one is made, and kept in var/."""
        if http.TOKENS:
            return str(http.TOKENS[0])
        if not settings.DEBUG:
            raise CommandError("API_TOKENS is empty: production needs at least one token, such as API_TOKENS=...")
        token = kept_secret(Path(settings.VAR_DIR) / "api_token")
        tokens.accept(token)
        return token

    def worker(self) -> EmbeddedWorker | None:
        """Return the worker of this process, running; None when the broker reaches other processes, which have their
        own.
        """
        if not settings.CELERY_BROKER_URL.startswith("memory:"):
            return None
        with patient():
            embedding.forget_wake_ups()  # what was published before this start is gone with its broker
        worker = EmbeddedWorker()
        worker.start()
        return worker

    def announce(
        self, options: dict[str, Any], address: str, token: str, admin: tuple[str, str | None] | None, worker: bool
    ) -> None:
        """Print where it runs and how to log in. The token and a new password are printed here and nowhere else."""
        name, password = admin or (None, None)
        if options["json"]:
            ready = {"address": address, "token": token, "admin": {"username": name, "password": password}}
            lines = [json.dumps(ready | {"worker": worker, "pid": os.getpid()})]
        else:
            lines = [f"Running at  {address}", f"API token   {token}"]
            if name and password:
                lines.append(f"Admin       {address}/admin/  login {name}, password {password} (shown only this once)")
            elif name:
                lines.append(
                    f"Admin       {address}/admin/  login {name} (lost the password? manage.py changepassword {name})"
                )
            if others := embedding.other_dispatchers(now()):
                lines.append(
                    f"Shared with {', '.join(others)}, which use this database too: each runs some of the alarms"
                )
            lines += [] if worker else ["No worker in this process: start one with  celery -A project worker"]
            lines.append("Ctrl-C stops it.")
        self.stdout.write("\n".join(lines))
        self.stdout.flush()

    def wait(self, web: WebServer, dispatcher: Dispatcher, worker: EmbeddedWorker | None) -> str | None:
        """Wait for a signal (None), or until a thread died: its name."""
        threads: dict[str, WebServer | Dispatcher | EmbeddedWorker | None]
        threads = {"web server": web, "dispatcher": dispatcher, "worker": worker}
        while not self.stop_asked:
            for name, thread in threads.items():
                if thread is not None and not thread.is_alive():
                    return name
            time.sleep(SECONDS_PER_LOOK)
        return None

    def stop(self, web: WebServer, dispatcher: Dispatcher, worker: EmbeddedWorker | None, died: str | None) -> None:
        """Stop all within ``SECONDS_TO_STOP`` and end the process with 0, or 1 when a thread had died."""
        end = time.monotonic() + SECONDS_TO_STOP
        web.stop(SECONDS_TO_STOP / 3)
        dispatcher.stop(SECONDS_TO_STOP / 3)
        if worker is not None and not worker.stop(end - time.monotonic()):
            self.stderr.write("Stopped before an alarm had ended; it runs again after the next start.")
        embedding.end_heartbeat()
        if died is not None:
            self.stderr.write(f"The {died} ended by itself; the log says why.")
        connections.close_all()
        if not self.only_json:
            self.stdout.write("Stopped.")
        self.stdout.flush()
        self.stderr.flush()
        # Python would wait for the pool's threads for as long as their tasks run.
        os._exit(1 if died else 0)

    def ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; end the process at once on the second."""
        if self.stop_asked:
            os._exit(128 + number)
        self.stop_asked = True


@contextmanager
def patient() -> Iterator[None]:
    """Wait longer for a locked SQLite file in this block than a request may: a site that starts has no caller
    waiting.
    """
    entry = connections["default"].settings_dict
    if connections["default"].vendor != "sqlite":
        yield
        return
    usual = entry["OPTIONS"]
    connections.close_all()
    entry["OPTIONS"] = usual | {"timeout": SECONDS_TO_BEGIN}
    try:
        yield
    finally:
        entry["OPTIONS"] = usual
        connections.close_all()


def address_of(host: str, port: int) -> str:
    """Return the address that a browser on this machine can open."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - compared, not bound
    return f"http://{shown}:{port}"


def port_number(text: str) -> int:
    """Parse a port from 0 to 65535. Raises ``ValueError``, which argparse reports, for anything else."""
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError(f"{port} is not a port")
    return port
