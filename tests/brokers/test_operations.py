"""Operations on real workers: one is killed in the middle, one is stopped and gone on with; nothing is done twice."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import LiteralString

import pytest

from tests.brokers.conftest import own_broker
from tests.support import services
from tests.support.site_processes import Site

pytestmark = pytest.mark.services("postgresql", "redis")

#: Short, so that what a killed worker had is free again soon.
LEASE, DISPATCH_EVERY = 4, 1
DONE: LiteralString = (
    "SELECT state, done, skipped, failed, fence FROM durable_objects_operation ORDER BY id DESC LIMIT 1"
)
MOVED: LiteralString = """
    SELECT count(*), count(*) FILTER (WHERE due_at = '2040-01-01T01:00:00Z') FROM durable_objects_alarm
"""
STOP: LiteralString = "UPDATE durable_objects_operation SET state = 'stopped', ask_at = NULL RETURNING id"
MAKE = """
from durable_objects.tables import Alarm, Object
from tests.models import Few
kind = Few.kind_pk()
objects = Object.objects.bulk_create([Object(kind_id=kind, name=f"n{{at:06}}") for at in range({number})])
due = "2040-01-01T00:00:00Z"
columns = dict(kind_id=kind, state="armed", due_at=due, scheduled_at=due)
Alarm.objects.bulk_create([Alarm(object=each, **columns) for each in objects])
"""
START = """
from durable_objects.operations import bulk
bulk.start("move", "class:tests.Few", by="ada", arguments={{"by": "1h"}}, rate={rate})
"""


#: Dead alarms of one group of errors that are revived; a person would not do this by hand.
REVIVED = int(os.environ.get("TEST_REVIVED") or "10000")
DIE = """
from django.contrib.auth.models import User
from durable_objects.operations import pauses
from tests.models import Few, Paced
from tests.support.many_alarms import dead_alarms
from django.contrib.contenttypes.models import ContentType
User.objects.create_superuser("ada")
pauses.pause(ContentType.objects.get_for_id(Few.kind_pk()))
dead_alarms(Few, {number})
dead_alarms(Paced, 50)
"""
REVIVE = """
from django.contrib.auth.models import User
from durable_objects.alarms.error_groups import fingerprint
from durable_objects.operations import bulk
from tests.support.many_alarms import ERROR
user = User.objects.get(username="ada")
bulk.start("revive", f"class:tests.Few state:dead error:{fingerprint(ERROR)}", by="ada", user=str(user.pk), reason="up")
"""
STATES: LiteralString = "SELECT state, count(*) FROM durable_objects_alarm GROUP BY state ORDER BY state"
LOGGED: LiteralString = """
    SELECT count(*), count(DISTINCT object_id) FROM django_admin_log WHERE change_message LIKE 'Revived (operation%%'
"""


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A migrated site with a worker and a dispatcher."""
    folder = tmp_path_factory.mktemp("operations")
    with ExitStack() as stack:
        database = stack.enter_context(services.fresh_postgresql())
        broker = stack.enter_context(own_broker("redis", folder))
        engine = {"DISPATCH_EVERY": DISPATCH_EVERY, "LEASE": LEASE}
        site = stack.enter_context(Site(folder, database, broker.url, engine=engine)).migrate()
        yield site
        for process in site.processes:
            process.kill()  # a clean stop takes seconds


@pytest.mark.parametrize(
    ("number", "rate"),
    [(2_000, 100), pytest.param(98_000, 20_000, marks=pytest.mark.chaos)],
)
def test_a_worker_is_killed_and_it_is_stopped_and_gone_on_with(site: Site, number: int, rate: int) -> None:
    """Each alarm is moved by exactly one hour, once, and the figures are exact, whoever was killed in between."""
    one = site.worker("one", pool="threads", concurrency=2)
    site.dispatcher()
    site.execute(MAKE.format(number=number), seconds=300)
    site.execute(START.format(rate=rate))
    site.wait_for_rows(DONE, seconds=60, until=lambda rows: rows[0][1] >= number // 10)
    one.kill()
    site.worker("two", pool="threads", concurrency=2)
    site.wait_for_rows(DONE, seconds=120, until=lambda rows: rows[0][1] >= number // 2)
    site.rows(STOP)  # a command starts too slowly on a busy machine
    site.wait_for_rows(DONE, seconds=30, until=lambda rows: rows[0][0] == "stopped")
    site.execute("from durable_objects.operations import bulk; bulk.go_on(bulk.get(1))")
    rows = site.wait_for_rows(DONE, seconds=600, until=lambda rows: rows[0][0] == "done")
    assert rows[0][:4] == ("done", number, 0, 0)
    assert rows[0][4] >= 3, "the killed worker's was taken over"
    assert site.rows(MOVED) == [(number, number)]


@pytest.mark.slow
def test_all_of_one_error_group_are_revived(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Each dead alarm of the group is revived once and is once in the log, with a worker killed and a stop on the way;
    those of another class stay dead. What it took is printed.
    """
    one = site.worker("one", pool="threads", concurrency=2)
    site.dispatcher()
    site.execute(DIE.format(number=REVIVED), seconds=300)
    begun = time.monotonic()
    site.execute(REVIVE)
    site.wait_for_rows(DONE, seconds=120, until=lambda rows: rows and rows[0][1] >= REVIVED // 10)
    one.kill()
    site.worker("two", pool="threads", concurrency=2)
    site.wait_for_rows(DONE, seconds=300, until=lambda rows: rows[0][1] >= REVIVED // 2)
    site.rows(STOP)
    ((_, done, *_),) = site.wait_for_rows(DONE, seconds=30, until=lambda rows: rows[0][0] == "stopped")
    assert done < REVIVED
    site.execute("from durable_objects.operations import bulk; bulk.go_on(bulk.get(1))")
    rows = site.wait_for_rows(DONE, seconds=600, until=lambda rows: rows[0][0] == "done")
    took = time.monotonic() - begun
    with capsys.disabled():
        print(f"{REVIVED:,} revived in {took:.0f} s: {REVIVED / took:,.0f} a second, with a kill and a stop on the way")
    assert rows[0][:4] == ("done", REVIVED, 0, 0)
    assert site.rows(STATES) == [("armed", REVIVED), ("dead", 50)]
    assert site.rows(LOGGED) == [(REVIVED, REVIVED)]
