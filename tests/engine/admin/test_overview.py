"""The alarms overview: what it counts, where it leads, what it costs; and keys that no page may show."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from durable_objects.operations import metrics
from durable_objects.tables import Alarm, AlarmRun, Dispatcher, Entry, Object
from durable_objects.testing import FakeClock
from tests.models import Counter, Script, Scripted
from tests.support.admin_pages import list_url, page_url, park, scripted, staff, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]

MINUTE = timedelta(minutes=1)


def overview() -> str:
    """The page's address."""
    return reverse("admin:durable_objects_overview")


@pytest.fixture
def site(alarm_clock: FakeClock, script: Script) -> FakeClock:
    """Alarms in every state, the dispatcher silent for three minutes, a hundred runs."""
    at = alarm_clock.now()
    Dispatcher.objects.create(process="web-1:1", started_at=at, last_pass_at=at - 3 * MINUTE)
    for name in ("late", "due", "running", "retrying", "dead", "hour", "hour too", "day"):
        scripted(name, {"day": timedelta(hours=5)}.get(name, 11 * MINUTE))
    rows = Alarm.objects.filter
    rows(object__name="late").update(due_at=at - 2 * MINUTE)
    rows(object__name="due").update(due_at=at - timedelta(seconds=3))
    rows(object__name="running").update(due_at=at - MINUTE, leased_until=at + MINUTE)
    rows(object__name="retrying").update(retry_count=2, due_at=at + timedelta(seconds=4))
    rows(object__name="dead").update(state="dead", due_at=None, last_error="ValueError: no")
    park(state="armed", scheduled_at=at, due_at=at + 2 * timedelta(days=1))
    obj = Object.objects.get(name="day")
    moments = dict.fromkeys(["scheduled_at", "due_at", "picked_up_at", "ended_at"], at)
    AlarmRun.objects.bulk_create(
        AlarmRun(
            object_id=obj.pk, started_at=at + timedelta(milliseconds=number), retry_count=0, fence=0,
            outcome="failed" if number == 7 else "succeeded", **moments,
        )
        for number in range(100)
    )  # fmt: skip
    return alarm_clock


def test_it_counts_and_leads_there(admin_client: Client, site: FakeClock) -> None:
    """Each tile has the figure of its state and leads to the list of just these alarms; lateness and load are shown."""
    page = admin_client.get(overview()).content.decode()
    tiles = re.findall(r'<li class="do-tile.*?href="([^"]*)".*?do-title">([^<]*)<.*?do-figure">([^<]*)<', page)
    assert {title: figure for _, title, figure in tiles} == {
        "Overdue": "1", "Due now": "2", "Running": "1", "Retrying": "1", "Dead": "1", "Parked": "1",
        "Paused": "0", "Waiting for limits": "0", "Next hour": "3", "Next day": "4",
    }  # fmt: skip
    for url, title, figure in tiles:
        assert len(admin_client.get(url).context["cl"].result_list) == int(figure), title
    text = text_of(admin_client, overview())
    assert "p50 50 ms p95 95 ms p99 99 ms runs 100 failed 1" in text
    assert "3 in all, at most 2 at a time" in text
    assert metrics.load_ahead(site.now())[:7] == [1, 0, 0, 0, 0, 2, 0]


def test_lateness_says_whom_it_counts(admin_client: Client, site: FakeClock) -> None:
    """Beside the lateness of those that ran stands how many are due and wait, and since when: they count as well."""
    waiting = "Only alarms that ran are counted. Due and still waiting: {}."
    assert waiting.format("2, the longest since 2 min") in text_of(admin_client, overview())
    AlarmRun.objects.all().delete()
    text = text_of(admin_client, overview())
    assert "Nothing ran in the last hour." in text
    assert waiting.format("2, the longest since 2 min") in text
    Alarm.objects.all().delete()
    assert waiting.format("0") in text_of(admin_client, overview())


def test_it_says_what_wants_attention(admin_client: Client, site: FakeClock) -> None:
    """In words, troubles first, with the doctor's advice and a way to the alarms that it is about."""
    text = text_of(admin_client, overview())
    late = "1 alarm is late, the oldest by 2 min. No dispatcher has made a pass for 3 min"
    sentences = [
        late,
        "Dead alarms: 1. One says: ValueError: no",
        "Alarms of a class that this code does not have: 1 of ghost.phantom",
    ]
    assert [text.find(sentence) for sentence in sentences] == sorted(text.find(sentence) for sentence in sentences)
    assert all(sentence in text for sentence in sentences)
    assert f'{list_url(Alarm)}?state=overdue">Show them' in admin_client.get(overview()).content.decode()


def test_it_costs_little(
    admin_client: Client, site: FakeClock, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """A fixed number of queries, each count bounded; the part that is asked for again and again is that part only."""
    with django_assert_max_num_queries(50) as queries:
        part = admin_client.get(reverse("admin:durable_objects_overview_figures")).content.decode()
    counts = [query["sql"] for query in queries.captured_queries if "COUNT(" in query["sql"]]
    assert counts
    assert all(" LIMIT " in sql for sql in counts)
    assert "<html" not in part
    assert "style=" not in part
    assert "<script" not in part


def test_who_may_see_it(site: FakeClock) -> None:
    """Whoever may view alarms; nobody else."""
    assert staff(["durable_objects.view_alarm"]).get(overview()).status_code == 200
    assert staff(["durable_objects.view_object"], "eve").get(overview()).status_code == 403
    assert "Alarms overview" in text_of(staff(["durable_objects.view_alarm"], "ann"), "/admin/durable_objects/")


def test_masked_keys_are_not_shown(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value whose key its class masks is on no page, nor is any of a class that is unknown here."""
    monkeypatch.setattr(Counter, "masked_keys", ("secret:*",))
    obj = Counter.objects.get_by_name("one")
    obj.storage.put_many({"secret:a": "hunter2", "open": "seen"})
    entry = Entry.objects.get(key="secret:a")
    pages = [page_url(Counter, obj.pk), page_url(Object, obj.pk), list_url(Entry), page_url(Entry, entry.pk)]
    for url in pages:
        assert "hunter2" not in admin_client.get(url).content.decode(), url
        assert "••••••" in text_of(admin_client, url)
    assert "seen" in text_of(admin_client, pages[0])
    assert "k int 1 B ••••••" in text_of(admin_client, page_url(Object, park().pk))


def test_a_page_explains(admin_client: Client, site: FakeClock) -> None:
    """An object's page says why its alarm stands so, what comes next, its last run by steps, and draws its lateness."""
    text = text_of(admin_client, page_url(Object, Object.objects.get(name="late").pk))
    assert "No dispatcher has made a pass for 3 min" in text
    assert "Next: " in text
    page = admin_client.get(page_url(Scripted, Object.objects.get(name="day").pk)).content.decode()
    assert page.count("<rect") == 20
    assert "Lateness of the last 20 runs: 80 ms to 99 ms" in page
    assert "step by step: succeeded" in page
