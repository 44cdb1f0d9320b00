"""What the whole overview asks of the database, by the real clock and outside of any transaction."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

import durable_objects
from durable_objects.operations import pauses
from durable_objects.tables import Alarm, AlarmRun, ClassLimit, Dispatcher, Object, Process
from tests.models import Counter, Impatient, Scripted
from tests.support.admin_pages import scripted, text_of
from tests.support.limited_alarms import Limiting

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.admin_urls")]

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(("passes", "most"), [(True, 21), (False, 18)])
def test_the_overview_asks_little(
    admin_client: Client,
    django_assert_max_num_queries: DjangoAssertNumQueries,
    limit: Limiting,
    passes: bool,
    most: int,
) -> None:
    """All panels take 18 queries with nothing kept from before, where classes are late, paused and at their limits,
    alarms are dead and a lease is over; three more say why each is late while a dispatcher passes.
    """
    limit(concurrency=1)
    at = durable_objects.now()
    late = dict.fromkeys(["scheduled_at", "due_at"], at - 2 * MINUTE)
    Dispatcher.objects.create(process="d:1", started_at=at, last_pass_at=at - (0 if passes else 10) * MINUTE)
    Process.objects.create(process="w:1", code_since=at, started_at=at, last_seen_at=at, threads=8, busy=1)
    for name in ("late", "dead", "gone", "runs", "retrying"):
        scripted(name, 11 * MINUTE)
    for model in (Counter, Impatient):
        row = Object.objects.create(kind_id=model.kind_pk(), name="late")
        Alarm.objects.create(object=row, kind_id=row.kind_id, state="armed", **late)
    rows = Alarm.objects.filter
    rows(object__name="late").update(due_at=at - 2 * MINUTE)
    rows(object__name="dead").update(state="dead", due_at=None, last_error="ValueError: no", error_group="a" * 12)
    rows(object__name="gone").update(due_at=at - MINUTE, leased_until=at - MINUTE)
    rows(object__name="runs").update(due_at=at - MINUTE, leased_until=at + MINUTE)
    ClassLimit.objects.create(kind_id=Scripted.kind_pk(), last_start_at=at)
    moments = dict.fromkeys(["scheduled_at", "due_at", "picked_up_at", "started_at", "ended_at"], at)
    for outcome in ("succeeded", "dead"):
        dead = Object.objects.get(name="dead")
        AlarmRun.objects.create(object=dead, retry_count=0, fence=0, outcome=outcome, **moments)
    pauses.pause(Impatient, reason="because", by="ann")
    admin_client.get(reverse("admin:app_list", args=["durable_objects"]))
    cache.clear()
    with django_assert_max_num_queries(most):
        text = text_of(admin_client, reverse("admin:app_list", args=["durable_objects"]))
    assert "tests.Counter" in text
