"""The alarms overview: what it counts, where it leads, what it costs; and keys that no page may show."""

from __future__ import annotations

import copy
import html
import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.cache import cache
from django.db.models import F
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from durable_objects.admin.overview import index
from durable_objects.alarms.error_groups import fingerprint
from durable_objects.formatting import absolute
from durable_objects.operations import pauses
from durable_objects.tables import Alarm, AlarmRun, Dispatcher, Entry, Object, Process
from durable_objects.testing import FakeClock
from tests import admin_urls
from tests.models import Account, Counter, Fickle, Grouped, Impatient, Profiled, Script, Scripted, Shop
from tests.support.admin_pages import list_url, page_url, park, scripted, staff, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]

MINUTE = timedelta(minutes=1)


def overview() -> str:
    """The page's address: the engine's first one."""
    return reverse("admin:app_list", args=["durable_objects"])


def panel(*names: str) -> str:
    """The address of some of its parts."""
    query = urlencode([("panel", name) for name in names])
    return f"{reverse('admin:durable_objects_overview_panels')}?{query}"


@pytest.mark.parametrize("pace", ["9" * 5_000, "x", "05", "-1"])
def test_a_pace_that_nobody_offers(admin_client: Client, pace: str) -> None:
    """Whatever the cookie says, the page is there, at its usual pace."""
    admin_client.cookies["durable_objects_refresh"] = pace
    assert 'value="5" selected' in admin_client.get(overview()).content.decode()


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
    """Each tile has the figure of its state and leads to the list of just these alarms; what is set aside on purpose
    stands apart.
    """
    page = admin_client.get(overview()).content.decode()
    tiles = re.findall(r'<li class="do-tile.*?href="([^"]*)".*?do-title">([^<]*)<.*?do-figure">([^<]*)<', page)
    assert [(title, figure) for _, title, figure in tiles] == [
        ("Overdue", "1"), ("Due now", "2"), ("Running", "1"), ("Retrying", "1"), ("Dead", "1"), ("Next hour", "3"),
        ("Next day", "4"), ("Parked", "1"), ("Paused", "0"), ("Waiting for limits", "0"),
    ]  # fmt: skip
    assert page.index("not late:") < page.index("Parked</span>")
    for url, title, figure in tiles:
        assert len(admin_client.get(url).context["cl"].result_list) == int(figure), title


def test_what_has_just_been_is_not_said_to_come(admin_client: Client, site: FakeClock) -> None:
    """What a process writes after the page has read its now is shown as now, never as in a moment."""
    at = site.now()
    Process.objects.create(process="w:1", code_since=at, started_at=at, last_seen_at=at + timedelta(milliseconds=600))
    page = text_of(admin_client, panel("processes"))
    assert "in 600ms" not in page
    assert " now " in page


def test_a_tile_says_what_changed(admin_client: Client, site: FakeClock) -> None:
    """Beside a figure stands by how much it is more or less than ten minutes ago, or when somebody first looked."""
    assert " in " not in text_of(admin_client, panel("tiles"))
    site.advance(3 * MINUTE)
    Alarm.objects.filter(object__name="hour").update(state="dead")
    assert "Dead 2 +1 in 3m" in text_of(admin_client, panel("tiles"))
    site.advance(9 * MINUTE)
    assert "Dead 2 Next" in text_of(admin_client, panel("tiles")), "they were two nine minutes ago"


def test_what_is_due_is_listed_by_class_and_cause(admin_client: Client, site: FakeClock) -> None:
    """Each class that waits has a line for what it waits for; no cause hides another, and what is paused, parked or
    limited, or has just come due beside others that are late, is not late.
    """
    at = site.now()
    busy = {"threads": 8, "busy": 8, "busy_since": at - MINUTE, "busy_with": Object.objects.get(name="running").pk}
    Process.objects.create(process="w:1", code_since=at, started_at=at, last_seen_at=at, **busy)
    Alarm.objects.filter(kind__model="phantom").update(due_at=at - 3 * MINUTE)
    Impatient.objects.get_by_name("held").storage.set_alarm(MINUTE)
    Alarm.objects.filter(object__name="held").update(due_at=at - MINUTE)
    pauses.pause(Impatient, by="ann", reason="stock-taking")
    text = text_of(admin_client, panel("late"))
    both = "No dispatcher has made a pass for 3m. All 8 threads are busy (8 of 8), the longest for 1m. Show the longest"
    lines = [
        f"tests.Scripted late 1 2m {both} Show Run all… tests.Scripted just due 1 3s",
        f"tests.Impatient paused 1 1m Paused since {absolute(at)} by ann (tests.Impatient): stock-taking.",
        "ghost.phantom parked 1 3m This code does not have the class.",
    ]
    assert [text.find(line) for line in lines] == sorted(text.find(line) for line in lines)
    assert all(line in text for line in lines), text


def test_late_schedules_lead_to_schedules(admin_client: Client, alarm_clock: FakeClock, script: Script) -> None:
    """Where of a class only schedules are late, no verb on alarms is offered, which would be on none of them: the line
    leads to these schedules. Beside an alarm that is late it leads to both.
    """
    one = Scripted.objects.get_by_name("one")
    one.schedules.set("daily", "scheduled", every=timedelta(days=1))
    one.storage.set_alarm(timedelta(days=3))
    alarm_clock.advance(timedelta(days=1, minutes=5))
    page = admin_client.get(panel("late")).content.decode()
    assert "Run all…" not in page
    (to,) = re.findall(r'href="([^"]*)">Schedules<', page)
    assert "daily" in text_of(admin_client, html.unescape(to))
    scripted("two", MINUTE)
    Alarm.objects.filter(object__name="two").update(due_at=alarm_clock.now() - 4 * MINUTE)
    page = admin_client.get(panel("late")).content.decode()
    assert ("Run all…" in page, ">Schedules<" in page) == (True, True)
    (asks,) = re.findall(r'href="([^"]*)">Run all…<', page)
    assert "Run 1 alarm (of tests.Scripted, overdue)?" in text_of(admin_client, html.unescape(asks))
    one.schedules.cancel("daily")
    assert ">Schedules<" not in admin_client.get(panel("late")).content.decode()


def test_the_sentence_is_right(admin_client: Client, site: FakeClock) -> None:
    """The first sentence says what is worst with all its causes, others follow; what can be done is a button, and no
    command of a shell stands in a sentence.
    """
    text = text_of(admin_client, panel("sentence"))
    sentences = [
        "1 alarm of tests.Scripted is late, the oldest by 2m. No dispatcher has made a pass for 3m. Show them",
        "1 alarm is dead, and does not run until it is revived. By error Show them",
        "1 alarm is parked: this code does not have their class. Show them",
    ]
    assert [text.find(sentence) for sentence in sentences] == sorted(text.find(sentence) for sentence in sentences)
    assert all(sentence in text for sentence in sentences), text
    page = admin_client.get(overview()).content.decode()
    assert "manage.py" not in re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)
    assert "`" not in text_of(admin_client, overview())
    assert f'{list_url(Alarm)}?state=overdue">Show them' in page


def test_all_is_well(admin_client: Client, alarm_clock: FakeClock, script: Script) -> None:
    """Where nothing is late the sentence says so, with the threads that are free; before anything is set as well."""
    at = alarm_clock.now()
    scripted("soon", MINUTE)
    Dispatcher.objects.create(process="w:1", started_at=at, last_pass_at=at)
    Process.objects.create(process="w:1", code_since=at, started_at=at, last_seen_at=at, threads=8, busy=3)
    fine = "Nothing is late, and a dispatcher passes. 5 of 8 threads are free."
    assert fine in text_of(admin_client, panel("sentence"))
    assert fine in text_of(admin_client, "/admin/")
    assert "Nothing is due." in text_of(admin_client, panel("late"))


def test_runs_by_minute(admin_client: Client, site: FakeClock) -> None:
    """The last hour's runs stand by minute and outcome, failures counted, deploys as lines; lateness counts what still
    waits as well as what ran. The last day's by quarters of an hour.
    """
    at = site.now()
    for version, since in {"v1": at - 2 * timedelta(days=1), "v2": at - 10 * MINUTE}.items():
        Process.objects.create(
            process=version, code_version=version, code_since=since, started_at=since, last_seen_at=at, threads=1
        )
    text = text_of(admin_client, panel("runs"))
    assert "Runs by minute: 100 in all, 1 failed; at most 100 in a minute." in text
    assert "late, p50 51ms late, p95 96ms late, p99 3s the oldest that waits 2m" in text
    assert "of 100 that ran and of 2 that still wait (p99 of those that ran: 99ms)" in text
    assert f"{absolute(at - 10 * MINUTE)}: v2." in text
    page = admin_client.get(panel("runs")).content.decode()
    assert page.count('class="do-bar-failed"') == 1
    assert page.count('class="do-bar-succeeded"') == 1
    assert page.count('class="do-mark"') == 1
    assert "Runs by quarter of an hour: 100 in all" in text_of(admin_client, panel("runs") + "&runs=day")
    AlarmRun.objects.all().delete()
    Alarm.objects.all().delete()
    cache.clear()
    assert "Nothing ran, and nothing waits." in text_of(admin_client, panel("runs"))


def test_dead_alarms_stand_by_error(admin_client: Client, site: FakeClock) -> None:
    """What died of the same error in a class is one line, however its values differ: how many, since when, the list."""
    for number in range(3):
        obj = scripted(f"card {number}", MINUTE)
        error = f"ValueError: card {number}{number} declined"
        Alarm.objects.filter(pk=obj.pk).update(
            state="dead", due_at=None, last_error=error, error_group=fingerprint(error)
        )
        moments = dict.fromkeys(["scheduled_at", "due_at", "picked_up_at", "started_at"], site.now())
        died = site.now() - (number + 1) * MINUTE
        AlarmRun.objects.create(object_id=obj.pk, retry_count=6, fence=1, outcome="dead", ended_at=died, **moments)
    text = text_of(admin_client, panel("dead"))
    assert "4 dead, of 2 kinds of error." in text
    assert "declined tests.Scripted 3 3m ago 1m ago" in text
    assert "ValueError: no tests.Scripted 1 - -" in text


def test_what_comes_due(admin_client: Client, site: FakeClock) -> None:
    """Bars for the next hour, day or week, with the most in one as the scale, and the worst second where many meet."""
    text = text_of(admin_client, panel("ahead"))
    assert "Alarms due by minute: 3 in all, at most 2 in a minute." in text
    assert "in one second" not in text
    at = site.now() + timedelta(hours=5)
    Alarm.objects.bulk_update(
        [Alarm(pk=scripted(f"many {number}", MINUTE).pk, due_at=at) for number in range(100)], ["due_at"]
    )
    text = text_of(admin_client, panel("ahead") + "&ahead=day")
    assert "104 in all, at most 101 in a quarter of an hour" in text
    assert f"{absolute(at)}: 101 in one second." in text
    assert "by 2 hours: 105 in all" in text_of(admin_client, panel("ahead") + "&ahead=week")


def test_processes_and_people(admin_client: Client, site: FakeClock) -> None:
    """Workers and dispatchers stand with their code, threads, clock and when they were last seen; what people did with
    its reason, for who may see the class.
    """
    at, pk = site.now(), Object.objects.get(name="day").pk
    row = Process.objects.create(
        process="web-1:1", code_version="v7", code_since=at, started_at=at, last_seen_at=at, threads=8, busy=2,
        busy_since=at - MINUTE, busy_with=pk, taken_a_minute=1_234, clock_skew=timedelta(seconds=-7),
    )  # fmt: skip
    line = "web-1:1 alive worker and dispatcher v7 2 of 8, longest 1m 1,234 now 3m ago 7s behind"
    assert line in text_of(admin_client, panel("processes"))
    listed = text_of(admin_client, list_url(Process))
    assert "web-1:1 alive worker and dispatcher v7 2 of 8" in listed
    Process.objects.filter(pk=row.pk).update(last_seen_at=at - MINUTE)
    assert "web-1:1 silent worker and dispatcher v7 2 of 8 1,234" in text_of(admin_client, panel("processes"))
    admin_client.post(list_url(Scripted), {"action": "fire_now", "_selected_action": [pk], "confirmed": "yes"})
    assert re.search(r"(ago|now) admin Set to run now\. day tests\.Scripted", text_of(admin_client, panel("people")))
    seen = staff(["durable_objects.view_alarm"], "zoe")
    assert "Nobody has done anything yet." in text_of(seen, panel("people"))


@pytest.mark.parametrize("names", [["sentence", "late", "tiles"]])
def test_it_costs_little(
    admin_client: Client, site: FakeClock, django_assert_max_num_queries: DjangoAssertNumQueries, names: list[str]
) -> None:
    """What is read every five seconds takes twelve queries, of which each is bounded, and is those parts only."""
    scripted("soon", MINUTE)
    admin_client.get(panel(*names))
    with django_assert_max_num_queries(12) as queries:
        part = admin_client.get(panel(*names)).content.decode()
    counts = [query["sql"] for query in queries.captured_queries if "COUNT(" in query["sql"]]
    assert counts
    assert all(" LIMIT " in sql for sql in counts)
    assert part.count("data-panel=") == 3
    assert "<html" not in part
    assert "style=" not in part
    assert "<script" not in part


def test_the_whole_page_costs_little(
    admin_client: Client, site: FakeClock, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """All panels together take twenty queries with nothing kept from before, however many classes wait."""
    for model in (Counter, Impatient):
        row = Object.objects.create(kind_id=model.kind_pk(), name="late too")
        Alarm.objects.create(
            object=row, kind_id=row.kind_id, state="armed",
            **dict.fromkeys(["scheduled_at", "due_at"], site.now() - 2 * MINUTE),
        )  # fmt: skip
    admin_client.get(overview())
    cache.clear()
    with django_assert_max_num_queries(20):
        text = text_of(admin_client, overview())
    assert "tests.Counter" in text


def test_many_late_classes_cost_as_one(
    admin_client: Client, alarm_clock: FakeClock, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """Of eight late classes while a dispatcher passes each says why, and page and refresh stay within their bounds."""
    at = alarm_clock.now()
    Dispatcher.objects.create(process="d:1", started_at=at, last_pass_at=at)
    due = dict.fromkeys(["scheduled_at", "due_at"], at - 2 * MINUTE)
    kinds = [model.kind_pk() for model in (Scripted, Counter, Impatient, Grouped, Fickle, Account, Profiled, Shop)]
    for kind_id in kinds:
        row = Object.objects.create(kind_id=kind_id, name="late")
        Alarm.objects.create(object=row, kind_id=kind_id, state="armed", **due)
    admin_client.get(overview())
    cache.clear()
    with django_assert_max_num_queries(20):
        text = text_of(admin_client, overview())
    assert text.count("No wake-up is out for it. ") == len(kinds) + 1, "each class says it, and the sentence"
    with django_assert_max_num_queries(12):
        admin_client.get(panel("sentence", "late", "tiles"))


def test_who_may_see_it(site: FakeClock) -> None:
    """Whoever may view alarms, on the engine's first page and in a line on the site's; nobody else."""
    ann, eve = staff(["durable_objects.view_alarm"], "ann"), staff(["durable_objects.view_object"], "eve")
    assert ann.get(reverse("admin:durable_objects_overview")).headers["Location"] == overview()
    assert eve.get(reverse("admin:durable_objects_overview")).status_code == 403
    assert eve.get(panel("dead")).status_code == 403
    for page in ("/admin/", overview()):
        assert "alarm of tests.Scripted is late" in text_of(ann, page)
        assert "is late" not in text_of(eve, page)


@pytest.mark.parametrize("theirs", ["own_index.html", ["own_index.html"], None])
def test_the_line_stands_above_any_index(
    admin_client: Client, site: FakeClock, monkeypatch: pytest.MonkeyPatch, settings: Settings, theirs: Any
) -> None:
    """A site with a first page of its own keeps it, with the sentence at the top of its content."""
    own = '{% extends "admin/index.html" %}{% block content %}Welcome home. {{ block.super }}{% endblock %}'
    loaders = ["django.template.loaders.filesystem.Loader", "django.template.loaders.app_directories.Loader"]
    template = copy.deepcopy(settings.TEMPLATES[0]) | {"APP_DIRS": False}
    template["OPTIONS"]["loaders"] = [("django.template.loaders.locmem.Loader", {"own_index.html": own}), *loaders]
    settings.TEMPLATES = [template]
    monkeypatch.setattr(admin_urls.site, "index_template", theirs)
    index.put_on(admin_urls.site)
    index.put_on(admin_urls.site)
    text = text_of(admin_client, "/admin/")
    assert text.count("is late") == 1
    assert ("Welcome home." in text) == (theirs is not None)
    assert "Site administration" in admin_client.get("/admin/").content.decode()


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
    assert "No dispatcher has made a pass for 3m" in text
    assert "Next: " in text
    page = admin_client.get(page_url(Scripted, Object.objects.get(name="day").pk)).content.decode()
    assert page.partition("Lateness of the last")[2].partition("</svg>")[0].count("<rect") == 20
    assert "Lateness of the last 20 runs: 80ms to 99ms" in page
    assert "step by step: succeeded" in page
    AlarmRun.objects.update(started_at=F("due_at"))
    assert (
        "Lateness of the last"
        not in admin_client.get(page_url(Scripted, Object.objects.get(name="day").pk)).content.decode()
    )
