"""Sites of real processes on PostgreSQL and a real broker, shared by the tests of a module."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import services
from tests.support.own_brokers import OwnRabbit, OwnRedis, own_rabbit
from tests.support.site_processes import Process, Site

REMINDERS = """
from datetime import timedelta
from durable_objects import now
from reminders.models import Reminder
moment = now()
for number in range({count}):
    at = moment + timedelta(seconds={after} + {step} * number)
    Reminder.objects.get_by_name(f"{name}{{number}}").set_reminder("here", at)
"""


def set_reminders(site: Site, name: str, count: int, *, after: float, step: float = 0) -> None:
    """Set the alarms NAME0, NAME1 … in a process that has no worker; the first is due after ``seconds``."""
    site.execute(REMINDERS.format(count=count, name=name, after=after, step=step))


def own_broker(name: str, folder: Path) -> AbstractContextManager[OwnRedis | OwnRabbit]:
    """A broker of the test's own, ``"redis"`` or ``"rabbitmq"``."""
    return OwnRedis(folder) if name == "redis" else own_rabbit()


@dataclass
class Running:
    """A site, the broker that is its own, and the worker on it."""

    site: Site
    broker: OwnRedis | OwnRabbit
    worker: Process
    pool: str


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses connections. It is taken all the same: nobody else gets it while the test lasts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A migrated site on the broker and with the pool that the parameter names, say ``("redis", "prefork")``."""
    broker_name, pool = request.param
    folder = tmp_path_factory.mktemp(broker_name)
    with ExitStack() as stack:
        database = stack.enter_context(services.fresh_postgresql())
        broker = stack.enter_context(own_broker(broker_name, folder))
        site = stack.enter_context(Site(folder, database, broker.url, engine={"DISPATCH_EVERY": 1}))
        site.migrate()
        worker = site.worker(pool=pool, concurrency=2 if pool == "prefork" else 8)
        yield Running(site, broker, worker, pool)
        worker.kill()  # a clean stop takes seconds
