"""What is done to a broker: taken away, frozen, emptied, made to refuse, and how that is undone."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from amqp.exceptions import AMQPError
from kombu import Connection, Queue

from tests.brokers.refusals import REFUSALS
from tests.chaos.storm.scene import Pids, ServerScene
from tests.support.own_brokers import OwnRabbitServer, OwnRedis


def restart(scene: ServerScene) -> Pids:
    """Away for a moment, then back; Redis comes back empty."""
    scene.broker.stop()
    time.sleep(scene.chance.uniform(0.2, 2))
    scene.broker.start()
    return set()


def freeze(scene: ServerScene) -> Pids:
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


def redis_refuses(answer: str) -> Callable[[ServerScene], Pids]:
    """Redis is there and refuses what it is told, for up to four seconds."""

    def act(scene: ServerScene) -> Pids:
        with REFUSALS[answer](_redis(scene).client):
            time.sleep(scene.chance.uniform(1, 4))
        return set()

    return act


def redis_hangs_up(scene: ServerScene) -> Pids:
    """Redis ends all connections, of those who listen as well, and takes new ones."""
    for kind in ("normal", "pubsub"):
        _redis(scene).client.client_kill_filter(_type=kind, skipme=True)
    return set()


def rabbit_loses_queue(scene: ServerScene) -> Pids:
    """The queue is deleted, with all that is in it."""
    with Connection(_rabbit(scene).url, connect_timeout=10) as connection, connection.channel() as channel:
        Queue("alarms", channel=channel).delete()
    return set()


def rabbit_takes_rights(scene: ServerScene) -> Pids:
    """The user may do nothing for three seconds."""
    rabbit = _rabbit(scene)
    rabbit.control("clear_permissions", "-p", "/", "guest")
    time.sleep(3)
    rabbit.control("set_permissions", "-p", "/", "guest", ".*", ".*", ".*")
    return set()


def rabbit_blocks(scene: ServerScene) -> Pids:
    """The memory alarm: publishers are not read from, for three seconds."""
    rabbit = _rabbit(scene)
    rabbit.control("set_vm_memory_high_watermark", "0.0000001")
    time.sleep(3)
    rabbit.control("set_vm_memory_high_watermark", "absolute", "1GB")
    return set()


def rabbit_hangs_up(scene: ServerScene) -> Pids:
    """RabbitMQ closes all connections, and takes new ones."""
    with suppress(AMQPError):
        _rabbit(scene).control("close_all_connections", "-p", "/", "for a test")
    return set()


def _redis(scene: ServerScene) -> OwnRedis:
    assert isinstance(scene.broker, OwnRedis)
    return scene.broker


def _rabbit(scene: ServerScene) -> OwnRabbitServer:
    assert isinstance(scene.broker, OwnRabbitServer)
    return scene.broker
