"""What Redis answers when it is there and does not do what it is told: each made for a block, and undone."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import redis

#: Commands by which messages are sent and taken.
_OF_MESSAGES = ("lpush", "brpop", "rpop", "zadd", "hset", "multi", "exec")


@contextmanager
def _set(client: redis.Redis, values: dict[str, str | int]) -> Iterator[None]:
    before = {name: client.config_get(name)[name] or "" for name in values}
    for name, value in values.items():
        client.config_set(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            client.config_set(name, value)


@contextmanager
def out_of_memory(client: redis.Redis) -> Iterator[None]:
    """OOM: the limit of its memory is reached, and nothing may be thrown away."""
    with _set(client, {"maxmemory-policy": "noeviction", "maxmemory": 1}):
        yield


@contextmanager
def read_only(client: redis.Redis) -> Iterator[None]:
    """READONLY: it has become the replica of a server that is away."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        client.replicaof("127.0.0.1", str(nobody.getsockname()[1]))
    try:
        yield
    finally:
        client.replicaof("NO", "ONE")


@contextmanager
def no_replicas(client: redis.Redis) -> Iterator[None]:
    """NOREPLICAS: it is to have a replica before it writes, and has none."""
    with _set(client, {"min-replicas-to-write": 1}):
        yield


@contextmanager
def no_permission(client: redis.Redis) -> Iterator[None]:
    """NOPERM: the user's rights were taken away."""
    client.acl_setuser("default", enabled=True, commands=[f"-{command}" for command in _OF_MESSAGES])
    try:
        yield
    finally:
        client.acl_setuser("default", enabled=True, categories=["+@all"])


@contextmanager
def cannot_save(client: redis.Redis) -> Iterator[None]:
    """MISCONF: its last snapshot could not be written, since its folder is gone (``OwnRedis`` has one of its own)."""
    folder = client.config_get("dir")["dir"]
    if folder:  # else it is gone already, and Redis cannot say where it was
        with suppress(FileNotFoundError):
            Path(folder).rmdir()
    with _set(client, {"save": "3600 1000000", "stop-writes-on-bgsave-error": "yes"}):
        client.bgsave()
        while client.info("persistence")["rdb_bgsave_in_progress"]:
            time.sleep(0.05)
        yield


#: By the first word of the answer.
REFUSALS: dict[str, Callable[[redis.Redis], AbstractContextManager[None]]] = {
    "OOM": out_of_memory,
    "READONLY": read_only,
    "NOREPLICAS": no_replicas,
    "NOPERM": no_permission,
    "MISCONF": cannot_save,
}
