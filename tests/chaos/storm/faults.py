"""What each fault does: to which part, for how long, and how it is undone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import LiteralString

import psycopg

from project.demo.processes import Failure, wait_for
from tests.chaos.storm.fleet import Fleet
from tests.chaos.storm.scene import LEASE, Pids, Scene, ServerScene

_LOCK = """
    SELECT 1 FROM durable_objects_object o JOIN durable_objects_alarm a ON a.object_id = o.id
    ORDER BY random() LIMIT 20 FOR UPDATE
"""
_OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


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


def broker_restart(scene: ServerScene) -> Pids:
    """Away for a moment, then back; Redis comes back empty."""
    scene.broker.stop()
    time.sleep(scene.chance.uniform(0.2, 2))
    scene.broker.start()
    return set()


def broker_freeze(scene: ServerScene) -> Pids:
    """SIGSTOP to the broker, for three seconds."""
    scene.broker.freeze()
    time.sleep(3)
    scene.broker.thaw()
    return set()


def black_hole(scene: ServerScene) -> Pids:
    """The broker's port takes connections, and nothing is ever read."""
    with scene.wire.silent():
        time.sleep(3)
    return set()


def flush(scene: ServerScene) -> Pids:
    """Every message is taken away."""
    scene.broker.empty()
    return set()


def database_restart(scene: ServerScene) -> Pids:
    """Away for up to two seconds: shut down, or as after a power cut."""
    scene.postgres.stop(scene.chance.choice(["fast", "immediate"]))
    time.sleep(scene.chance.uniform(0, 2))
    scene.postgres.start()
    return set()


def connections_cut(scene: ServerScene) -> Pids:
    """Every session is ended by the server."""
    _in_database(scene, f"SELECT pg_terminate_backend(pid) {_OTHERS}", 0)
    return set()


def lock_wait(scene: ServerScene) -> Pids:
    """Somebody's transaction keeps twenty objects and their alarms locked for three seconds."""
    _in_database(scene, _LOCK, 3)
    return set()


def held_snapshot(scene: ServerScene) -> Pids:
    """A transaction idles with its snapshot."""
    _in_database(scene, "SELECT count(*) FROM durable_objects_entry", 8, "REPEATABLE READ")
    return set()


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


def _in_database(
    scene: ServerScene, query: LiteralString, seconds: float, isolation: LiteralString = "READ COMMITTED"
) -> None:
    with suppress(psycopg.Error), psycopg.connect(scene.postgres.url) as connection:
        connection.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        connection.execute(query)
        time.sleep(seconds)
