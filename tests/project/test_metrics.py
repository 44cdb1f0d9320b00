"""``/metrics``: figures read from the database, in Prometheus' text format, for who has the scope."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import DjangoAssertNumQueries, Settings

from batcher.models import Batcher
from durable_objects import AlarmInfo, prometheus
from durable_objects.alarms import queries
from durable_objects.database import clock
from durable_objects.delivery import processes
from durable_objects.operations import metrics
from durable_objects.tables import Alarm
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Script, Scripted
from tests.support import http_settings
from tests.support.admin_pages import park

pytestmark = pytest.mark.django_db

TOKEN = "a-token-of-the-tests"
Figures = dict[tuple[str, tuple[str, ...]], float]


def read() -> Figures:
    """Each sample by its name and its labels' values, as a scraper parses it."""
    families = text_string_to_metric_families(prometheus.exposition().decode())
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def alarms(figures: Figures) -> dict[str, int]:
    """The alarms by state, those of which there are any."""
    found = {labels[0]: int(value) for (name, labels), value in figures.items() if name == "durable_objects_alarms"}
    return {state: count for state, count in found.items() if count}


def test_served_to_who_has_the_scope(client: Client, settings: Settings) -> None:
    """The page is text that Prometheus reads, closed without a token."""
    http_settings.change(settings, TOKENS=[TOKEN])
    assert client.get("/metrics").status_code == 401
    response = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (response.status_code, response["Content-Type"]) == (200, prometheus.CONTENT_TYPE)
    names = {family.name for family in text_string_to_metric_families(response.content.decode())}
    assert names >= {"durable_objects_alarms", "durable_objects_build_info", "batcher_items_waiting"}


def fail(obj: Scripted, info: AlarmInfo) -> None:
    """Fail, as a handler does."""
    raise ValueError("again")


def test_alarms_by_state() -> None:
    """Each state counts the alarms in it, from being set to being dead; lateness is split by class and outcome."""
    Scripted.script = Script()
    Scripted.script.alarm = fail
    with FakeClock() as now:
        Scripted.objects.get_by_name("a").storage.set_alarm(timedelta(minutes=1))
        assert alarms(read()) == {"armed": 1}
        now.advance(timedelta(minutes=1))
        assert alarms(read()) == {"armed": 1, "due": 1}
        now.advance(timedelta(seconds=20))
        figures = read()
        assert alarms(figures) == {"armed": 1, "due": 1, "overdue": 1}
        assert figures["durable_objects_oldest_overdue_seconds", ()] == 20
        run_due_alarms()
        lateness: Any = {
            labels[1]: value
            for (name, labels), value in read().items()
            if name == "durable_objects_run_lateness_seconds_bucket" and labels[0] == "tests.Scripted"
        }
        assert (lateness["10.0"], lateness["30.0"], lateness["+Inf"]) == (0, 1, 1)
        for _ in range(6):
            now.advance(timedelta(minutes=2))
            run_due_alarms()
        assert alarms(read()) == {"dead": 1}


def test_running_parked_and_out() -> None:
    """An alarm whose run keeps a lease is running; one of a class unknown here is parked, and neither due nor late."""
    now = clock.now()
    park(state="armed", due_at=now, scheduled_at=now, wake_up_for=now)
    assert alarms(read()) == {"armed": 1, "parked": 1}
    assert read()["durable_objects_oldest_overdue_seconds", ()] == 0
    assert read()["durable_objects_wake_ups_out", ()] == 1
    Alarm.objects.update(leased_until=now + timedelta(minutes=1), wake_up_for=None)
    assert alarms(read()) == {"armed": 1, "running": 1, "parked": 1}
    assert read()["durable_objects_wake_ups_out", ()] == 0


def test_dispatchers_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long ago a dispatcher passed is there, once one has."""
    monkeypatch.setattr(processes, "SIGN_EVERY", 0.0)
    name = ("durable_objects_dispatcher_last_pass_seconds", ())
    with FakeClock() as now:
        assert name not in read()
        processes.sign(clock.now(), refused=False)
        now.advance(timedelta(seconds=7))
        assert read()[name] == 7


def test_batches_and_items() -> None:
    """Items that wait, and batches by how they stand."""
    with FakeClock() as now:
        for name, count in (("a", 3), ("b", 2)):
            Batcher.objects.get_by_name(name).add_items(["x"] * count)
        assert read()["batcher_items_waiting", ()] == 5
        now.advance(timedelta(seconds=10))
        run_due_alarms()
        figures = read()
    assert figures["batcher_items_waiting", ()] == 0
    assert figures["batcher_batches_sealed_lately", ("delivered",)] == 2
    assert figures["batcher_batches_unfinished", ("open",)] == 0


def test_nothing_is_counted_further_than_a_bound(
    monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """However many alarms there are, the queries are the same few, each with its limit."""
    now = clock.now()
    for number in range(5):
        park(f"p{number}", state="armed", due_at=now, scheduled_at=now)
        Batcher.objects.get_by_name(f"b{number}").storage.set_alarm(timedelta(0))
    monkeypatch.setattr(queries.count, "__defaults__", (3,))
    monkeypatch.setattr(metrics, "COUNTED_TO", 3)
    with django_assert_max_num_queries(20):
        figures = alarms(read())
    assert (figures["due"], figures["parked"]) == (3, 3)
    assert figures["armed"] >= 3
