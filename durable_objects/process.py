"""What this process is called where others read of it, and whether another one is gone."""

import os
import socket
from pathlib import Path

#: How many threads run alarms in this process; None where nobody said.
threads: int | None = None


def name() -> str:
    """``host:pid``, at most 100 characters. Asked each time: a worker's children are forked."""
    return f"{socket.gethostname()[:80]}:{os.getpid()}"


def is_gone(other: str) -> bool:
    """Whether no process of this name can be alive, so far as one can be certain of it from here.

    Of another host nobody knows. A process that has this one's own name was here before it, say in a container that was
    started again. One whose id was given to another process since counts as alive.
    """
    host, _, pid = other.rpartition(":")
    if host != name().rpartition(":")[0] or not pid.isdecimal():
        return other == ""
    if int(pid) == os.getpid():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    try:  # one that nobody has waited for is dead all the same
        return Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except (OSError, IndexError):
        return False
