"""More of what Redis answers when it is there and does not do what it is asked to; each for a block, and undone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import redis

from tests.chaos import refusals as of_the_storm


@contextmanager
def master_down(client: redis.Redis) -> Iterator[None]:
    """MASTERDOWN: a replica whose master is away, set not to answer from what it has."""
    client.config_set("replica-serve-stale-data", "no")
    with of_the_storm.read_only(client):
        yield
    client.config_set("replica-serve-stale-data", "yes")


@contextmanager
def no_permission_to_wait(client: redis.Redis) -> Iterator[None]:
    """NOPERM for the one command by which a worker waits."""
    client.acl_setuser("default", enabled=True, commands=["-brpop"])
    yield
    client.acl_setuser("default", enabled=True, categories=["+@all"])


@contextmanager
def no_permission_for_keys(client: redis.Redis) -> Iterator[None]:
    """NOPERM for keys: the user may do everything, to nothing of ours."""
    client.acl_setuser("default", enabled=True, reset_keys=True, keys=["nothing"], categories=["+@all"])
    yield
    client.acl_setuser("default", enabled=True, keys=["*"], categories=["+@all"])


@contextmanager
def password_changed(client: redis.Redis) -> Iterator[None]:
    """NOAUTH: everyone is thrown out, and nobody knows the new password."""
    client.config_set("requirepass", "another")
    for kind in ("normal", "pubsub"):
        client.client_kill_filter(_type=kind, skipme=True)
    yield
    client.config_set("requirepass", "")


@contextmanager
def busy(client: redis.Redis) -> Iterator[None]:
    """BUSY: a script does not end."""

    def run() -> None:
        with suppress(redis.RedisError), redis.Redis(port=int(client.get_connection_kwargs()["port"])) as own:
            own.eval("while true do end", 0)

    client.config_set("busy-reply-threshold", 1)
    script = threading.Thread(target=run)
    script.start()
    time.sleep(0.1)
    yield
    client.script_kill()
    script.join()
    client.config_set("busy-reply-threshold", 5000)


REFUSALS: dict[str, Callable[[redis.Redis], AbstractContextManager[None]]] = {
    **of_the_storm.REFUSALS,
    "MASTERDOWN": master_down,
    "NOPERM to wait": no_permission_to_wait,
    "NOPERM for keys": no_permission_for_keys,
    "NOAUTH": password_changed,
    "BUSY": busy,
}
