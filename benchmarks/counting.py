"""A proxy that counts round trips: how often the client spoke after the server had."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from django.db import connection

from tests.support.tcp_proxy import TcpProxy


class CountingWire(TcpProxy):
    """Leads to a port on the loopback and counts on the way."""

    round_trips = 0
    _server_spoke = True

    def during(self, call: Callable[[], object]) -> int:
        """Round trips while the call lasted, by whatever connection."""
        before = self.round_trips
        call()
        return self.round_trips - before

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        from_client = source.getsockname()[1] == self.port
        with suppress(OSError):
            while data := source.recv(65536):
                if from_client and self._server_spoke:
                    self.round_trips += 1
                self._server_spoke = not from_client
                sink.sendall(data)
        for end in (source, sink):
            self._ends.discard(end)
            end.close()


@contextmanager
def counted() -> Iterator[CountingWire]:
    """Django's connection to PostgreSQL, led through a proxy."""
    settings = connection.settings_dict
    host, port = settings["HOST"], settings["PORT"]
    wire = CountingWire(int(port or 5432))
    connection.close()
    settings["HOST"], settings["PORT"] = "127.0.0.1", str(wire.port)
    try:
        yield wire
    finally:
        connection.close()
        settings["HOST"], settings["PORT"] = host, port
        wire.stop()
