"""What each fault does: to which part, for how long, and how it is undone."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from project.demo.processes import Failure, wait_for
from tests.chaos.host import DIRECTIONS
from tests.chaos.storm.fleet import AWAY, SECOND, Fleet
from tests.chaos.storm.scene import LEASE, Pids, Scene, ServerScene


def kill_worker(scene: Scene) -> Pids:
    """-9 to a worker with its pool."""
    return scene.fleet.restart(scene.fleet.some_worker(scene.chance))


def kill_child(scene: Scene) -> Pids | None:
    """-9 to one process of a pool."""
    children = scene.fleet.living["worker-prefork"].children()
    if not children:
        return None
    pid = scene.chance.choice(children)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return {pid}


def end_worker(scene: Scene) -> Pids:
    """SIGTERM under load; it has ten seconds."""
    return scene.fleet.restart(scene.fleet.some_worker(scene.chance), "stop")


def pause_worker(scene: Scene) -> Pids:
    """SIGSTOP past the lease, then SIGCONT."""
    return _pause(scene.fleet, scene.fleet.some_worker(scene.chance), LEASE + 1.5)


def pause_dispatcher(scene: Scene) -> Pids:
    """SIGSTOP for four seconds."""
    return _pause(scene.fleet, "dispatcher1", 4.0)


def five_dispatchers(scene: Scene) -> Pids:
    """Three more, for a while."""
    more = ["dispatcher3", "dispatcher4", "dispatcher5"]
    for name in more:
        scene.fleet.start(name)
    time.sleep(6)
    for name in more:
        scene.fleet.retire(name)
    return set()


def no_worker(scene: Scene) -> Pids:
    """All workers are ended, and for eight seconds there is none."""
    fleet = scene.fleet
    names = fleet.workers
    pids = set().union(*(fleet.retire(name, "kill") for name in names))
    time.sleep(8)
    for name in names:
        fleet.start(name)
    return pids


def few_out(scene: Scene) -> Pids:
    """For twenty seconds the dispatchers may have no more than ten wake-ups out, and far more are on their way."""
    fleet = scene.fleet
    engine = json.loads(fleet.site.environment["ENGINE"]) | {"MAX_OUT": 10}
    names = ["dispatcher1", "dispatcher2"]
    for name in names:
        fleet.restart(name, ENGINE=json.dumps(engine))
    _wished(scene, "far")
    time.sleep(20)
    for name in names:
        fleet.restart(name)
    return set()


def second_up(**environment: str) -> Callable[[Scene], Pids]:
    """One more ``manage.py up`` on the same database, for ten seconds. It may refuse; it may not do harm."""

    def act(scene: Scene) -> Pids:
        process = scene.fleet.start(SECOND, **environment)
        scene.fleet.leave_alone(SECOND)
        end = time.monotonic() + 10
        while time.monotonic() < end and process.exit_code() is None:
            time.sleep(0.1)
        pids = {process.pid}
        process.stop(10)
        return pids

    return act


def partition(*links: str, directions: tuple[str, ...] = DIRECTIONS, longest: float = 20) -> Callable[[Any], Pids]:
    """The worker on a host of its own is cut off: its packets are dropped, and nobody is told."""

    def act(scene: ServerScene) -> Pids:
        fleet = scene.fleet
        assert fleet.host is not None
        pids = fleet.pids(AWAY)
        with fleet.host.cut(*links, directions=directions):
            time.sleep(scene.chance.uniform(5, longest))
        return pids | fleet.pids(AWAY)  # another fault may have put a new one in its place

    return act


def refusing_upstream(scene: Scene) -> Pids:
    """The upstream answers 503 a few times."""
    scene.upstream.script(*[503] * 4)
    return set()


def pause_up(scene: Scene) -> Pids:
    """SIGSTOP to the one process that is everything, past the lease."""
    return _pause(scene.fleet, "up", LEASE + 1.5)


def end_up(scene: Scene) -> Pids:
    """SIGTERM to it; it has ten seconds."""
    return scene.fleet.restart("up", "stop")


def post(way: str) -> Callable[[Scene], Pids]:
    """Messages travel that way for five seconds."""

    def act(scene: Scene) -> Pids:
        file = scene.fleet.wish("post", way)
        time.sleep(5)
        file.unlink()
        return set()

    return act


def killed(name: str) -> Callable[[Scene], Pids]:
    """-9 to the process of this name."""
    return lambda scene: scene.fleet.restart(name)


def killed_at(role: str, point: str) -> Callable[[Scene], Pids | None]:
    """The next process of this role that reaches the point dies there."""
    return lambda scene: _wished(scene, f"kill-{role}-{point}")


def wish(what: str) -> Callable[[Scene], Pids | None]:
    """The callers do something out of the ordinary."""
    return lambda scene: _wished(scene, what)


def _wished(scene: Scene, what: str) -> Pids | None:
    file = scene.fleet.wish(what)
    try:
        wait_for(f"{what} to be taken away", file.exists, seconds=15, until=lambda there: not there)
    except Failure:
        file.unlink(missing_ok=True)
        return None
    return set()


def dressed(**environment: str) -> Callable[[Scene], Pids]:
    """A worker is replaced, for a while, by one with this environment."""

    def act(scene: Scene) -> Pids:
        name = scene.fleet.some_worker(scene.chance)
        pids = scene.fleet.restart(name, "stop", **environment)
        with suppress(Failure, AssertionError):  # another fault may end it before it is ready
            scene.fleet.wait_until_ready(name)
            time.sleep(5)
        return pids | scene.fleet.restart(name, "stop")

    return act


def _pause(fleet: Fleet, name: str, seconds: float) -> Pids:
    process = fleet.living[name]
    pids = fleet.pids(name)
    with suppress(ProcessLookupError):
        process.freeze()
        time.sleep(seconds)
        process.thaw()
    return pids
