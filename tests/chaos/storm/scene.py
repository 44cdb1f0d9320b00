"""What there is to hit, and what a fault is."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tests.chaos.own_postgres import OwnPostgres
from tests.chaos.storm.fleet import Fleet
from tests.support.tcp_proxy import TcpProxy
from tests.support.upstream import Upstream

#: The lease of every process here, in seconds; a worker is paused for longer.
LEASE = 5.0

Pids = set[int]


class Broker(Protocol):
    """What is done to a broker."""

    url: str
    port: int

    def start(self) -> Any: ...
    def stop(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    def empty(self) -> None: ...


@dataclass
class Scene:
    """What each run has. ``ask`` gives the rows of a query, past the engine."""

    fleet: Fleet
    upstream: Upstream
    chance: random.Random
    ask: Callable[[str], list[tuple[Any, ...]]]


@dataclass
class ServerScene(Scene):
    """And the servers that can be hit. ``wire`` is the port through which every process reaches the broker."""

    postgres: OwnPostgres
    broker: Broker
    wire: TcpProxy


@dataclass(frozen=True)
class Fault:
    """``act`` makes the fault, waits it out, undoes it; the processes hit; None: there were none to hit."""

    kind: str
    part: str
    act: Callable[[Any], Pids | None]
