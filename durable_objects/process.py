"""What this process is called where others read of it, and whether another one is gone."""

import functools
import hashlib
import os
import socket
from pathlib import Path

#: How many threads run alarms in this process; None where that is not known.
threads: int | None = None


def name() -> str:
    """Return ``host/space:pid``, at most 100 characters. Asked each time: a worker's children are forked.

    ``space`` distinguishes hosts and containers of the same name, in which one process id may be given twice. It is
    not there where the system does not show it.
    """
    return f"{socket.gethostname()[:80]}{_space()}:{os.getpid()}"


def is_gone(other: str) -> bool:
    """Return whether no process of this name can be alive, so far as one can be certain of it from here.

    Of another host or container nobody knows, nor of this one before it was started again. A process that has this
    one's own name was here before it. One whose id was given to another process since counts as alive.
    """
    place, _, pid = other.rpartition(":")
    if place != name().rpartition(":")[0] or not pid.isdecimal():
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


def _space() -> str:
    try:
        inode = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return ""
    return "/" + hashlib.sha256(f"{_boot()} {inode}".encode()).hexdigest()[:8]


@functools.cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
