"""Fixtures: a broker of the test's own, a site on it, an upstream, a line for figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.stage import Broker
from tests.support import services
from tests.support.own_brokers import OwnRedis, own_rabbit
from tests.support.site_processes import Site
from tests.support.upstream import Upstream


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """A broker that no one else uses, one test after the other on each kind."""
    with OwnRedis(tmp_path) if request.param == "redis" else own_rabbit() as own:
        yield own


@pytest.fixture
def redis_broker(tmp_path: Path) -> Iterator[Broker]:
    """A Redis that no one else uses, for what does not depend on the kind of broker."""
    with OwnRedis(tmp_path) as own:
        yield own


@pytest.fixture
def site_on(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """``site_on(broker, LEASE=10, …)``: a site with tables, on a database of its own; capitals are engine settings."""
    with ExitStack() as sites:

        def make(broker: Broker, database_url: str = "", **engine: Any) -> Site:
            # Entered here, so that it is dropped after the processes on it have ended.
            url = database_url or sites.enter_context(services.fresh_postgresql())
            settings = {"DJANGO_SETTINGS_MODULE": "tests.chaos.settings"}
            return sites.enter_context(Site(tmp_path, url, broker.url, engine=engine, **settings)).migrate()

        yield make


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """An upstream; the test says how slow."""
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a line of figures, also when the test succeeds."""

    def line(text: str) -> None:
        with capsys.disabled():
            print(f"\n{request.node.name}: {text}", flush=True)

    return line
