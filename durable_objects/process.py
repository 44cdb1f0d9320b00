"""What this process is called where others read of it."""

import os
import socket


def name() -> str:
    """``host:pid``, at most 100 characters. Asked each time: a worker's children are forked."""
    return f"{socket.gethostname()[:80]}:{os.getpid()}"
