"""Network namespaces as hosts: each with an address of its own; a bridge leads to the servers of this machine.

Needs root, iproute2, socat, taskset. The servers listen on the loopback only, so socat leads to them from the bridge.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

from benchmarks.row import NotRun

BRIDGE, NETWORK = "dobench0", "10.213.77"
GATEWAY = f"{NETWORK}.1"


@contextmanager
def hosts(count: int, *ports: int) -> Iterator[list[str]]:
    """The names of so many hosts, from each of which ``GATEWAY`` leads to these ports of this machine."""
    if os.geteuid() or not all(map(shutil.which, ("ip", "socat", "taskset"))):
        raise NotRun("hosts are network namespaces: they need root, iproute2, socat and taskset")
    names = [f"dobench{number}" for number in range(1, count + 1)]
    _remove(names)
    leads: list[subprocess.Popen[bytes]] = []
    try:
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("addr", "add", f"{GATEWAY}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        for number, name in enumerate(names, start=1):
            _ip("netns", "add", name)
            _ip("link", "add", f"{name}v", "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", f"{name}v", "master", BRIDGE, "up")
            _ip("-n", name, "addr", "add", f"{NETWORK}.{number + 1}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
        for port in ports:
            listen = f"TCP-LISTEN:{port},bind={GATEWAY},fork,reuseaddr,nodelay"
            leads.append(subprocess.Popen(["socat", listen, f"TCP:127.0.0.1:{port},nodelay"]))
        yield names
    finally:
        for lead in leads:
            lead.terminate()
            lead.wait(10)
        _remove(names)


def on_host(name: str, arguments: list[str], *, core: int) -> list[str]:
    """Arguments of a Python process that turns into ``python *arguments`` on this host, which has one core of these."""
    cores = sorted(os.sched_getaffinity(0))
    command = ["ip", "netns", "exec", name, "taskset", "-c", str(cores[core % len(cores)]), sys.executable, *arguments]
    return ["-c", f"import os; os.execvp('ip', {command!r})"]


def from_hosts(url: str) -> str:
    """The address of a server of this machine as a host sees it."""
    where = urlsplit(url)
    login = f"{where.netloc.rpartition('@')[0]}@" if "@" in where.netloc else ""
    return urlunsplit(where._replace(netloc=f"{login}{GATEWAY}:{where.port}"))


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotRun(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _remove(names: list[str]) -> None:
    for arguments in (*(["netns", "del", name] for name in names), ["link", "del", BRIDGE]):
        with suppress(NotRun):
            _ip(*arguments)
