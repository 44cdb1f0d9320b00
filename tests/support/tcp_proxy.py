"""A TCP proxy to a port, which a test can stop, freeze or turn into a black hole."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: Seconds for which a frozen connection keeps what it was given.
PATIENCE = 60.0


class TcpProxy:
    """Forwards from ``port`` on the loopback, or on another address of this machine, to the ``target`` port there."""

    def __init__(self, target: int, address: str = "127.0.0.1") -> None:
        self._target, self._address = target, address
        self._open = threading.Event()
        self._open.set()
        self._ends: set[socket.socket] = set()
        self.port = 0
        self.start()

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return len(self._ends) // 2

    def start(self) -> None:
        """Take connections, again after ``stop`` too, on the same port."""
        self._server = socket.create_server((self._address, self.port))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections, and cut those that there are."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for end in list(self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def lead_to(self, target: int) -> None:
        """Forward new connections to another port; those that there are stay as they are."""
        self._target = target

    def freeze(self) -> None:
        """Let nothing arrive any more; connections stay open, and new ones are taken."""
        self._open.clear()

    def thaw(self) -> None:
        """Let everything arrive again."""
        self._open.set()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Be a black hole in this block: the port takes connections, and what is sent is never even read."""
        self.stop()
        with socket.create_server((self._address, self.port)):
            yield
        self.start()

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                here, _ = server.accept()
            except OSError:
                return
            try:
                there = socket.create_connection(("127.0.0.1", self._target))
            except OSError:  # nobody is there: as far as a proxy can say so
                here.close()
                continue
            self._ends |= {here, there}
            for source, sink in ((here, there), (there, here)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._open.wait(PATIENCE)
                sink.sendall(data)
        for end in (source, sink):
            self._ends.discard(end)
            with suppress(OSError):  # the other direction's thread must wake up before this is closed under it
                end.shutdown(socket.SHUT_RDWR)
            end.close()
