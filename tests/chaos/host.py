"""A host of its own for a worker: a network namespace with one link to the database and one to the broker.

What a cut link is given is dropped, in the directions that are asked for, and nobody is told: both ends of a connection
stay open, as when a switch dies. Needs root and iproute2.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from tests.support.own_brokers import missing

LINKS = ("database", "broker")
#: ``out``: what the host sends is lost; ``back``: what it is sent.
DIRECTIONS = ("out", "back")

#: A queue that takes every packet and sends none. One that refuses them would tell TCP that this host is busy, and a
#: keepalive that was not sent for that reason does not count.
_DROP = ("root", "blackhole")


class Host:
    """A host for the ``with`` block. ``gateway[link]`` is this machine's address on that link."""

    def __init__(self) -> None:
        if os.geteuid():
            missing("iproute2 as root")
        for program in ("ip", "tc"):
            if shutil.which(program) is None:
                missing(program)
        number = random.randrange(16, 240)
        self.name = f"dochaos{os.getpid()}"
        self.gateway = {link: f"10.{213 + place}.{number}.1" for place, link in enumerate(LINKS)}
        self._own = {link: f"10.{213 + place}.{number}.2" for place, link in enumerate(LINKS)}
        #: What processes there have in their environment beside the others': where the servers are.
        self.environment: dict[str, str] = {}

    def reaches(self, database_url: str, broker_url: str, upstream_port: int, batcher: str) -> None:
        """Say where the servers are; they have to listen on the gateways. ``batcher``: the setting of all others."""
        upstream = f"http://{self.gateway['broker']}:{upstream_port}/batches"
        self.environment = {
            "DATABASE_URL": _at(self.gateway["database"], database_url),
            "CELERY_BROKER_URL": _at(self.gateway["broker"], broker_url),
            "BATCHER": json.dumps(json.loads(batcher) | {"UPSTREAM_URL": upstream}),
        }

    def inside(self, arguments: list[str]) -> list[str]:
        """Arguments of a Python process that turns into ``python *arguments`` on this host."""
        command = ["ip", "netns", "exec", self.name, sys.executable, *arguments]
        return ["-c", f"import os; os.execvp('ip', {command!r})"]

    @contextmanager
    def cut(self, *links: str, directions: tuple[str, ...] = DIRECTIONS) -> Iterator[None]:
        """Drop all packets on these links, in these directions, for this block."""
        with ExitStack() as stack:
            for link in links:
                ends = {"out": ["-n", self.name, "qdisc"], "back": ["qdisc"]}
                devices = {"out": link, "back": self._device(link)}
                for way in directions:
                    run("tc", *ends[way], "add", "dev", devices[way], *_DROP)
                    stack.callback(run, "tc", *ends[way], "del", "dev", devices[way], "root")
            yield

    def __enter__(self) -> Self:
        run("ip", "netns", "add", self.name)
        try:
            run("ip", "-n", self.name, "link", "set", "lo", "up")
            for link in LINKS:
                self._lay(link)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for link in LINKS:
            with suppress(AssertionError):
                run("ip", "link", "del", self._device(link))
        run("ip", "netns", "del", self.name)

    def _device(self, link: str) -> str:
        return f"{link[0]}{self.name}"[:15]

    def _lay(self, link: str) -> None:
        device = self._device(link)
        run("ip", "link", "add", device, "type", "veth", "peer", "name", link, "netns", self.name)
        run("ip", "addr", "add", f"{self.gateway[link]}/30", "dev", device)
        run("ip", "link", "set", device, "up")
        run("ip", "-n", self.name, "addr", "add", f"{self._own[link]}/30", "dev", link)
        run("ip", "-n", self.name, "link", "set", link, "up")
        # Neighbours are known for ever: a cut must look like silence, not like "no route to host".
        there = run("ip", "-n", self.name, "-j", "link", "show", link)
        here = run("ip", "-j", "link", "show", device)
        known = ["nud", "permanent"]
        run("ip", "neigh", "replace", self._own[link], "lladdr", _address(there), "dev", device, *known)
        run(
            "ip", "-n", self.name, "neigh", "replace", self.gateway[link], "lladdr", _address(here), "dev", link, *known
        )


def run(*command: str) -> str:
    """What a program says; AssertionError with its complaint when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
    return done.stdout


def _address(listing: str) -> str:
    return str(json.loads(listing)[0]["address"])


def _at(address: str, url: str) -> str:
    where = urlsplit(url)
    login = f"{where.netloc.rpartition('@')[0]}@" if "@" in where.netloc else ""
    return urlunsplit(where._replace(netloc=f"{login}{address}:{where.port}"))
