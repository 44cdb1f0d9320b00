"""The admin's pages: what they show, to whom, and that they stay small."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from durable_objects.admin import ObjectAdmin, queries
from durable_objects.admin.base import BoundedPaginator
from durable_objects.models import DurableObject
from durable_objects.operations.selection.text import quoted
from durable_objects.tables import Alarm, AlarmRun, Entry, Object
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Counter, Script, Scripted
from tests.support.admin_pages import fail, list_url, page_url, park, scripted, text_of, words_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]

MINUTE = timedelta(minutes=1)
HOSTILE = [
    "<script>alert(1)</script>",
    "quo\"te's",
    "100%",
    "a/b/../c",
    "🎉",
    "_5F",
    "x" * 512,
    "&lt;",
    "{{ 7|add:7 }}",
]


@pytest.fixture(autouse=True)
def _script(script: Script) -> None:
    """Every test has a script of its own."""


def in_state(state: str, clock: FakeClock) -> DurableObject | Object:
    """An object whose alarm stands so."""
    if state == "parked":
        return park(state="armed", due_at=clock.now() + MINUTE, scheduled_at=clock.now() + MINUTE, generation=1)
    if state == "idle":
        return scripted("one")
    obj = scripted("one", MINUTE)
    slot = Alarm.objects.filter(pk=obj.pk)
    if state == "due":
        clock.advance(MINUTE + timedelta(seconds=5))
    elif state == "overdue":
        clock.advance(2 * MINUTE)
    elif state == "running":
        slot.update(leased_until=clock.now() + MINUTE, leased_generation=1, fence=7)
    elif state in {"retrying", "dead"}:
        Scripted.script.alarm = fail
        clock.advance(MINUTE)
        for _ in range(1 if state == "retrying" else 7):
            run_due_alarms()
            clock.advance(timedelta(seconds=2 ** (slot.get().retry_count)) if state == "dead" else timedelta(0))
    return obj


SENTENCES = {
    "idle": "idle No alarm was ever set.",
    "armed": "armed Runs in 1m.",
    "due": "due Due for 5s.",
    "overdue": "overdue Should have run 1m ago.",
    "retrying": "retrying Failed runs: 1. The next try is in 2s.",
    "dead": "dead Its retries are used up.",
    "running": "running A run is in unlocked(). Its worker keeps the object by a lease, and renews it.",
    "parked": "parked Due in 1m, but this code does not have its class: left alone.",
}


@pytest.mark.parametrize("state", SENTENCES)
def test_a_page_says_how_the_alarm_stands(state: str, admin_client: Client, alarm_clock: FakeClock) -> None:
    """Each state of an alarm is shown by a word and a sentence, on the object's page and in the lists."""
    obj = in_state(state, alarm_clock)
    models = [Object] if state == "parked" else [Object, Scripted]
    for model in models:
        assert SENTENCES[state] in text_of(admin_client, page_url(model, obj.pk))
        assert re.search(rf"\b{obj.name}\b.* {state}\b", text_of(admin_client, list_url(model)))
    if state != "idle":
        assert SENTENCES[state] in text_of(admin_client, page_url(Alarm, obj.pk))


def test_a_command_in_a_sentence_is_shown_as_code(admin_client: Client, alarm_clock: FakeClock) -> None:
    """What stands in backticks is code, here as on the overview; everything else in the sentence is only text."""
    obj = in_state("overdue", alarm_clock)
    Alarm.objects.filter(pk=obj.pk).update(wake_up_for=alarm_clock.now())
    page = admin_client.get(page_url(Scripted, obj.pk)).content.decode()
    assert "<code>manage.py alarms explain</code> asks the broker" in page


def test_a_run_that_took_no_time_has_a_line_with_a_name(admin_client: Client, alarm_clock: FakeClock) -> None:
    """The picture of where a run's time went says it in words, also where nothing took any."""
    at = alarm_clock.now()
    obj, moments = in_state("idle", alarm_clock), ("scheduled_at", "due_at", "picked_up_at", "started_at", "ended_at")
    AlarmRun.objects.create(object_id=obj.pk, retry_count=0, fence=1, outcome="succeeded", **dict.fromkeys(moments, at))
    page = admin_client.get(page_url(Scripted, obj.pk)).content.decode()
    assert 'aria-label="took no time that was measured"' in page
    assert 'aria-label=""' not in page


FIRST = {
    "idle": "It has not run yet.",
    "armed": "It has not run yet.",
    "due": "No run has ended yet.",
    "overdue": "No run has ended yet.",
    "running": "The first run is under way: it is listed here when it ends.",
}


@pytest.mark.parametrize("state", FIRST)
def test_before_the_first_run_has_ended(state: str, admin_client: Client, alarm_clock: FakeClock) -> None:
    """While no run is on record the page says what is true of that: not that none began while one is under way."""
    obj = in_state(state, alarm_clock)
    for model in [Object, Scripted]:
        page = text_of(admin_client, page_url(model, obj.pk))
        assert f"Last runs {FIRST[state]}" in page
    Alarm.objects.filter(pk=obj.pk).update(state="idle", due_at=None, leased_until=None, fence=3)
    if state != "idle":
        assert "Last runs No run that ended is on record." in text_of(admin_client, page_url(Scripted, obj.pk))


def test_a_failed_run_is_explained(admin_client: Client, alarm_clock: FakeClock) -> None:
    """The list shows the line that names the error; the page has each run with its traceback folded, as text."""
    obj = in_state("dead", alarm_clock)
    assert "ValueError: refused by <b>upstream</b>" in text_of(admin_client, list_url(Scripted))
    page = admin_client.get(page_url(Scripted, obj.pk)).content.decode()
    assert page.count("<summary>ValueError: refused by &lt;b&gt;upstream&lt;/b&gt;</summary>") == 7
    assert "Traceback (most recent call last)" in page
    assert "<b>upstream</b>" not in page
    run = AlarmRun.objects.order_by("-id")[0]
    assert "second line" in text_of(admin_client, page_url(AlarmRun, run.pk))
    assert re.search(r" dead .* alarm 6 ", text_of(admin_client, f"{list_url(AlarmRun)}?object={obj.pk}"))


def test_storage_is_shown_with_its_types(admin_client: Client) -> None:
    """Each value is decoded and shown with its type and size; one that cannot be read is shown as it is stored."""
    obj = Counter.objects.get_by_name("typed")
    obj.storage.put_many({"a": (1, {"n": Decimal("1.50")}), "b": "<i>", "c": 10**400, "d": b"\0", "e": None})
    Entry.objects.create(object_id=obj.pk, key="f", value='{"$type":"newer"}')
    text = text_of(admin_client, page_url(Counter, obj.pk))
    for line in [
        "a tuple",
        '[ 1, { "n": "1.50" } ]',
        'b str 5 B "<i>"',
        "c int",
        "d bytes",
        "e NoneType 4 B null",
    ]:
        assert line in text
    assert 'f unreadable 17 B {"$type":"newer"}' in text
    entry = Entry.objects.get(key="a")
    assert "tuple" in text_of(admin_client, page_url(Entry, entry.pk))
    assert "typed tests.Counter tuple" in text_of(admin_client, list_url(Entry))


def test_storage_is_shown_in_portions(admin_client: Client) -> None:
    """An object of any size has a page of bounded size: a page of entries, and the beginning of long values."""
    obj = Counter.objects.get_by_name("big")
    obj.storage.put_many({f"k{n:04}": "x" * 5000 if n == 0 else n for n in range(ObjectAdmin.entries_shown + 5)})
    url = page_url(Counter, obj.pk)
    first = admin_client.get(url).content.decode()
    last, following = f"k{ObjectAdmin.entries_shown - 1:04}", f"k{ObjectAdmin.entries_shown:04}"
    assert last in first
    assert following not in first
    assert "x" * queries.VALUE_CHARACTERS not in first.replace("x" * (queries.VALUE_CHARACTERS - 1), "", 1)
    assert f"?after={last}" in first
    assert following in text_of(admin_client, f"{url}?after={last}")


def test_a_cut_value_too_has_its_type(admin_client: Client) -> None:
    """Of a value that is shown in part, the type is judged by how its text begins."""
    obj = Counter.objects.get_by_name("long")
    obj.storage.put_many({"a": "x" * 9000, "b": list(range(9000)), "c": tuple(range(9000)), "d": {"k": "x" * 9000}})
    text = text_of(admin_client, page_url(Counter, obj.pk))
    for expected in ["a str 9,002 B", "b list", "c tuple", "d dict"]:
        assert expected in text


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_only_text(name: str, admin_client: Client, alarm_clock: FakeClock) -> None:
    """An object of any name is listed, found, opened and asked about; its name never becomes markup."""
    obj = scripted(name, MINUTE)
    shown = name[:60]
    for url in [
        list_url(Scripted), list_url(Object), list_url(Alarm), page_url(Scripted, obj.pk), page_url(Object, obj.pk),
        page_url(Alarm, obj.pk), page_url(Scripted, obj.pk, "delete"), page_url(Scripted, obj.pk, "history"),
    ]:  # fmt: skip
        page = admin_client.get(url, follow=True).content.decode()
        assert "<script>alert" not in page, url
        assert shown in words_of(page), url
    found = admin_client.get(list_url(Scripted), {"q": quoted(name)})
    assert [row.name for row in found.context["cl"].result_list] == [name]


@pytest.mark.parametrize("name", [" ", "a\u202eb", "tab\t", "\u200b"])
def test_an_invisible_name_can_be_seen(name: str, admin_client: Client) -> None:
    """A name with characters that show nothing, or turn others round, is written out escaped."""
    obj = scripted(name)
    page = admin_client.get(list_url(Scripted)).content.decode()
    assert re.search(rf'<a href="{page_url(Scripted, obj.pk)}[^>]*>&quot;[^<]+&quot;</a>', page)
    assert "\u202e" not in text_of(admin_client, list_url(Scripted))


def test_search_is_by_the_beginning_of_a_name(admin_client: Client) -> None:
    """A bare word, or a text in quotes, finds what begins with all of it, blanks and wildcards included."""
    for name in ["order 1", "order 2", "order%", "my order 1"]:
        scripted(name)
    for query, names in {'"order "': ["order 2", "order 1"], "order%": ["order%"], "1": []}.items():
        rows = admin_client.get(list_url(Object), {"q": query}).context["cl"].result_list
        assert [row.name for row in rows] == names, query


def test_filters(admin_client: Client, alarm_clock: FakeClock) -> None:
    """The filters give exactly the alarms in that state, overdue, or of that class, parked ones among them."""
    armed, _, dead, running = (scripted(name, MINUTE) for name in ["armed", "late", "dead", "running"])
    scripted("never")
    lost = park(state="armed", due_at=alarm_clock.now() + MINUTE, scheduled_at=alarm_clock.now() + MINUTE)
    Alarm.objects.filter(pk=armed.pk).update(due_at=alarm_clock.now() + 9 * MINUTE, retry_count=1)
    Alarm.objects.filter(pk=dead.pk).update(state="dead", due_at=None)
    Alarm.objects.filter(pk=running.pk).update(leased_until=alarm_clock.now() + 9 * MINUTE)
    lost.alarm_row.due_at = alarm_clock.now() + 9 * MINUTE
    lost.alarm_row.save()
    alarm_clock.advance(2 * MINUTE)
    expected = {
        "state=idle": {"never"}, "state=armed": {"armed", "late", "running", "lost"}, "state=retrying": {"armed"},
        "state=dead": {"dead"}, "state=running": {"running"}, "state=overdue": {"late"}, "state=parked": {"lost"},
        "state=hour": {"armed", "lost"}, f"class={lost.kind_id}": {"lost"},
    }  # fmt: skip
    for query, names in expected.items():
        for model in [Alarm] if query == "state=idle" else [Object, Alarm]:
            rows = admin_client.get(f"{list_url(model)}?{query}").context["cl"].result_list
            there = {row.object.name if isinstance(row, Alarm) else row.name for row in rows}
            assert there == (names - {"never"} if model is Alarm else names), (query, model)


@pytest.mark.parametrize("model", [Object, Scripted, Alarm, Entry, AlarmRun])
def test_a_list_asks_little(
    model: type[Object | Alarm | Entry | AlarmRun],
    admin_client: Client,
    alarm_clock: FakeClock,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    """A list of 50 rows takes a fixed, small number of queries, none of which counts a whole table."""
    for number in range(50):
        scripted(f"{number}", timedelta(0)).storage.put("k", number)
    run_due_alarms()
    every = "state=all" if model is Alarm else ""
    with django_assert_max_num_queries(14) as caught:
        assert len(admin_client.get(f"{list_url(model)}?{every}").context["cl"].result_list) == 50
    counts = [query["sql"] for query in caught.captured_queries if "COUNT(" in query["sql"]]
    assert counts
    assert all(f"LIMIT {BoundedPaginator.LIMIT}" in sql for sql in counts)


def test_a_page_asks_little(
    admin_client: Client, alarm_clock: FakeClock, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    """An object's page takes a fixed, small number of queries, whatever is stored and has run."""
    obj = scripted("one", timedelta(0))
    obj.storage.put_many({str(number): number for number in range(50)})
    run_due_alarms()
    with django_assert_max_num_queries(11):
        admin_client.get(page_url(Scripted, obj.pk))
