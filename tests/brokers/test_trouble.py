"""The broker goes away, freezes or swallows everything: who adds an item never notices, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import LiteralString
from urllib.parse import urlsplit

import pytest

from tests.brokers.conftest import own_broker, set_reminders
from tests.support.site_processes import Site
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.services("postgresql", "redis")

DISPATCH_EVERY = 2.0
WITHIN = 20.0
ADDS = 50
#: Runs, objects that ran, runs that were early.
TALLY: LiteralString = (
    "SELECT count(*), count(DISTINCT object_id), count(*) FILTER (WHERE started_at < due_at) "
    "FROM durable_objects_alarmrun"
)
DONE = "SELECT count(*) FROM durable_objects_alarmrun WHERE outcome = 'succeeded'"


@contextmanager
def refused(wire: TcpProxy) -> Iterator[None]:
    """Connections to the broker are cut and refused."""
    wire.stop()
    yield
    wire.start()


@contextmanager
def frozen(wire: TcpProxy) -> Iterator[None]:
    """Connections stay open, and nothing ever answers."""
    wire.freeze()
    yield
    wire.thaw()


Trouble = Callable[[TcpProxy], AbstractContextManager[None]]
on_each_broker = pytest.mark.parametrize(
    "broker_name",
    [pytest.param("redis", marks=pytest.mark.chaos), pytest.param("rabbitmq", marks=pytest.mark.services("rabbitmq"))],
)


@pytest.mark.parametrize(
    "trouble",
    [
        frozen,
        pytest.param(refused, marks=pytest.mark.chaos),
        pytest.param(TcpProxy.silent, marks=pytest.mark.chaos, id="silent"),
    ],
)
@on_each_broker
def test_adding_never_hurts_and_everything_runs_once_it_is_back(
    broker_name: str, trouble: Trouble, postgresql_url: str, tmp_path: Path
) -> None:
    """50 adds in a row take under 5 s and answer 200; with the broker back the alarms run within an interval + 2 s."""
    with own_broker(broker_name, tmp_path) as broker:
        port = urlsplit(broker.url).port or 0
        wire = TcpProxy(port)
        url = broker.url.replace(f":{port}", f":{wire.port}")
        engine = {"DISPATCH_EVERY": DISPATCH_EVERY}
        with (
            Site(tmp_path, postgresql_url, url, engine=engine, BATCHER='{"WINDOW": 0.5}') as site,
            site.migrate().up() as client,
        ):
            worker = site.worker(pool="threads", concurrency=8)
            assert client.post("/batcher/before", content=b"an item").status_code == 200
            site.wait_for_rows(DONE, seconds=WITHIN, until=lambda rows: rows == [(1,)])
            with trouble(wire):
                began = time.monotonic()
                answers = [client.post(f"/batcher/{number}", content=b"an item").status_code for number in range(ADDS)]
                took = time.monotonic() - began
                site.wait_for("the alarms to be overdue", lambda: time.monotonic() - began > took + 1, seconds=WITHIN)
            back = time.monotonic()
            site.wait_for_rows(DONE, seconds=WITHIN, until=lambda rows: rows == [(ADDS + 1,)])
            late = time.monotonic() - back
            print(f"\n{broker_name}: 50 adds in {took:.2f} s, all run {late:.2f} s after it was back")
            assert set(answers) == {200}
            assert took < 5, took
            assert late < DISPATCH_EVERY + 2
            worker.kill()  # a clean stop takes seconds
        wire.stop()


@pytest.mark.chaos
@on_each_broker
def test_an_emptied_broker_loses_no_alarm(broker_name: str, postgresql_url: str, tmp_path: Path) -> None:
    """Every message gone while alarms wait: all of them run, once each, none early."""
    with (
        own_broker(broker_name, tmp_path) as broker,
        Site(tmp_path, postgresql_url, broker.url, engine={"DISPATCH_EVERY": 1}) as site,
    ):
        worker = site.migrate().worker()
        worker.kill()  # what it has taken is lost with it
        set_reminders(site, "pending", 100, after=1, step=0.05)
        broker.empty()
        site.worker("another")
        site.dispatcher()
        site.wait_for_rows(DONE, seconds=60, until=lambda rows: rows == [(100,)])
        assert site.rows(TALLY) == [(100, 100, 0)]


@pytest.mark.chaos
@on_each_broker
def test_two_beats_and_three_dispatchers_do_no_harm(broker_name: str, postgresql_url: str, tmp_path: Path) -> None:
    """Alarms beyond the horizon are published by beat's passes; however many pass at once, each alarm runs once."""
    with (
        own_broker(broker_name, tmp_path) as broker,
        Site(tmp_path, postgresql_url, broker.url, engine={"DISPATCH_EVERY": 1, "HORIZON": 2}) as site,
    ):
        site.migrate()
        for number in range(2):
            site.beat(f"beat{number}")
        set_reminders(site, "far", 100, after=8)
        site.worker(pool="threads")
        published = "SELECT count(*) FROM durable_objects_alarm WHERE wake_up_for IS NOT NULL"
        site.wait_for_rows(published, seconds=WITHIN, until=lambda rows: rows[0][0] > 0)
        for number in range(3):
            site.dispatcher(f"dispatcher{number}")
        site.wait_for_rows(DONE, seconds=60, until=lambda rows: rows == [(100,)])
        assert site.rows(TALLY) == [(100, 100, 0)]
