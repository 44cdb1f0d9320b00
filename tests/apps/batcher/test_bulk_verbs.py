"""Operations on batchers: everything that matches is flushed, or has its failed batches replayed."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from urllib.parse import parse_qs

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from batcher import batch_lifecycle
from batcher.admin.actions import REPLAY_FAILED
from batcher.bulk_verbs import GIVE_UP, REPLAY
from batcher.models import Batch, Batcher
from durable_objects.admin import actions
from durable_objects.errors import InvalidInput
from durable_objects.operations import bulk_chunks
from durable_objects.operations import bulk_verbs as engine_verbs
from durable_objects.operations.bulk_verbs import BulkVerb
from durable_objects.tables import Alarm, Operation
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Counter
from tests.support.admin_pages import choose, confirm, list_url, page_url, staff, text_of
from tests.support.operations import do_to_all, figures
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.admin_urls")]

START = reverse("admin:durable_objects_operation_start", urlconf="tests.admin_urls")


def with_failed(name: str, batches: int, clock: FakeClock, upstream: Upstream, **fields: object) -> Batcher:
    """A batcher that posts to the upstream, with failed batches of one item each, its name and their number."""
    batcher = Batcher.objects.get_by_name(name)
    batcher.configure(upstream_url=upstream.url)
    moments = dict.fromkeys(("sealed_at", "give_up_at", "finished_at"), clock.now())
    columns = {"item_count": 1, "status": "failed", "failed_items": 1, "status_code": 503, "answer": "down"}
    Batch.objects.bulk_create(
        Batch(batcher_id=batcher.pk, first_item=at + 1, items_json=f'["{name} {at}"]', **moments | columns | fields)
        for at in range(batches)
    )
    return batcher


def test_replays_what_failed(upstream: Upstream, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every failed batch that is proven undelivered goes again under its key, of a batcher with many of them too; those
    that may have been delivered stay, and only batchers that have some are counted.
    """
    monkeypatch.setattr(batch_lifecycle, "REVIVED_AT_ONCE", 2)
    with_failed("few", 1, alarm_clock, upstream)
    with_failed("many", 5, alarm_clock, upstream)
    unknown = with_failed("unknown", 1, alarm_clock, upstream, outcome_unknown=True)
    for name in ("well", "unhurt"):
        Batcher.objects.get_by_name(name).add_item(1)
    keys = {str(pk) for pk in Batch.objects.exclude(batcher_id=unknown.pk).values_list("pk", flat=True)}
    assert figures(do_to_all("replay", "class:batcher.Batcher")) == ("done", 2, 2, 0, 0)
    run_due_alarms()
    assert sorted(upstream.items) == ["few 0", *(f"many {at}" for at in range(5))]
    assert {str(batch.pk) for batch in Batch.objects.filter(status="delivered")} >= keys
    assert Batch.objects.get(batcher_id=unknown.pk).status == "failed"
    again = Batch.objects.filter(batcher__name="many").first()
    assert again is not None
    assert [event["what"] for event in again.history or ()] == ["replayed", "try"]
    assert figures(do_to_all("replay_unknown", "name:un*")) == ("done", 1, 1, 0, 0)
    run_due_alarms()
    assert "unknown 0" in upstream.items


@pytest.mark.parametrize("verb", [REPLAY, GIVE_UP])
def test_what_was_done_meanwhile_is_skipped(
    verb: BulkVerb, upstream: Upstream, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batcher of which nothing is left to be done when its turn comes counts as skipped."""
    monkeypatch.setitem(engine_verbs._verbs, verb.name, replace(verb, narrow=lambda rows: rows))  # as read before
    with_failed("orders", 1, alarm_clock, upstream, status="delivered")
    assert figures(do_to_all(verb.name, "", reason="late")) == ("done", 1, 0, 1, 0)


def test_in_chunks_that_can_be_stopped(
    upstream: Upstream, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes chunk by chunk; stopped behind one, the batchers of later ones are left alone."""
    monkeypatch.setattr(bulk_chunks, "CHUNK", 2)
    for at in range(5):
        with_failed(f"b{at}", 1, alarm_clock, upstream)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bulk_chunks._Worker, "wait", lambda worker, begun, end: False)  # one chunk a worker
        first = do_to_all("replay", "class:batcher.Batcher")
    assert (first.done, Batch.objects.filter(status="set_aside").count()) == (2, 2)
    bulk_chunks.drive(first.pk, first.fence)
    assert Batch.objects.filter(status="set_aside").count() == 5


def test_flushes(alarm_clock: FakeClock) -> None:
    """What waits is due now; a batcher of which nothing waits is skipped; what is no batcher is left out."""
    Batcher.objects.get_by_name("full").add_item(1)
    Batcher.objects.get_by_name("empty").save()
    Counter.objects.get_by_name("other").save()
    assert figures(do_to_all("flush", "")) == ("done", 2, 1, 1, 0)
    assert Alarm.objects.get(state="armed").due_at == alarm_clock.now()


def test_who_may_and_why(upstream: Upstream, alarm_clock: FakeClock, settings: object) -> None:
    """It takes the permission to change batchers; the reason is in each batcher's history, and what may send twice is
    refused without one where one is required, as is to give up.
    """
    with_failed("orders", 3, alarm_clock, upstream)
    asked = {"verb": "replay", "selection": "class:batcher.Batcher"}
    eve = staff(["batcher.view_batcher", "batcher.view_batch"], "eve")
    assert eve.post(START, {**asked, "confirmed": "yes"}).status_code == 403
    vic = staff(["batcher.change_batcher"])
    page = text_of(vic, f"{START}?verb=replay&selection=class:batcher.Batcher")
    assert "Replay 1 batcher (of batcher.Batcher)?" in page
    vic.post(START, {**asked, "confirmed": "yes", "reason": "upstream is back"})
    operation = Operation.objects.get()
    bulk_chunks.drive(operation.pk, operation.fence)
    entry = LogEntry.objects.get(content_type=Batcher.kind_pk(), user=User.objects.get(username="vic"))
    assert entry.change_message == f"Replay requested: batches: 3 (operation {operation.pk}: upstream is back)."
    settings.DURABLE_OBJECTS = {"REQUIRE_REASON": True}  # type: ignore[attr-defined]  # pytest-django's
    for verb in ("replay_unknown", "give_up"):
        with pytest.raises(InvalidInput, match="REQUIRE_REASON"):
            do_to_all(verb, "class:batcher.Batcher")
    assert do_to_all("replay", "class:batcher.Batcher").state == "done"


def test_the_list_of_batchers_leads_there(
    admin_client: Client, upstream: Upstream, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chosen ones are replayed at once; more than one request takes become the question on all that the list shows."""
    rows = [with_failed(f"b{at}", 2, alarm_clock, upstream) for at in range(3)]
    assert confirm(admin_client, Batcher, REPLAY_FAILED.name, [rows[0].pk]) == ["Replay requested: b0 (batches: 2)."]
    assert confirm(admin_client, Batcher, REPLAY_FAILED.name, [rows[0].pk]) == [
        "Not done for b0: there was nothing to do"
    ]
    monkeypatch.setattr(actions, "AT_MOST", 1)
    pks = [row.pk for row in rows]
    answer = choose(admin_client, Batcher, REPLAY_FAILED.name, pks)
    assert "verb=replay&" in answer["Location"]
    assert "2 batchers" in text_of(admin_client, answer["Location"])
    assert "everything that matches" in text_of(admin_client, list_url(Batcher))


def test_the_list_of_batches_leads_there(
    admin_client: Client, upstream: Upstream, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More batches than one request takes become an operation on their batchers, where that does the same to what the
    list shows; elsewhere the first of them are asked for.
    """
    monkeypatch.setattr(actions, "AT_MOST", 1)
    rows = [with_failed(name, 2, alarm_clock, upstream) for name in ("eu-a", "eu b")]
    with_failed("late", 2, alarm_clock, upstream, status="set_aside", finished_at=None, next_try_at=alarm_clock.now())
    with_failed("early", 2, alarm_clock, upstream, status="open", finished_at=None, next_try_at=alarm_clock.now())

    def led_to(verb: str, query: str) -> dict[str, list[str]]:
        pks = [str(pk) for pk in Batch.objects.values_list("pk", flat=True)]
        chosen = {"action": verb, "_selected_action": pks}
        answer = admin_client.post(f"{list_url(Batch)}?{query}", chosen)
        led = parse_qs(answer["Location"].partition("?")[2]) if answer.status_code == 302 else {}
        return led if "verb" in led else {}

    assert led_to("replay", "status__exact=failed&outcome=known") == {"verb": ["replay"]}
    assert led_to("replay", "status__exact=failed") == {"verb": ["replay_unknown"]}
    assert led_to("replay", "status__exact=failed&outcome=known&q=eu") == {
        "verb": ["replay"],
        "selection": ["name:eu*"],
    }
    with_a_blank = led_to("replay", "status__exact=failed&outcome=known&q=eu+")
    assert with_a_blank == {"verb": ["replay"], "selection": ['name:"eu "*']}  # as the list reads it
    of_one = led_to("replay", f"status__exact=failed&outcome=known&batcher={rows[1].pk}")
    assert of_one == {"verb": ["replay"], "selection": ['class:batcher.Batcher name:"eu b"']}
    assert led_to("fail", "status__exact=set_aside&q=la") == {"verb": ["give_up"], "selection": ["name:la*"]}
    for verb, query in [
        ("replay", ""),
        ("fail", "status__exact=open"),
        ("replay", "status__exact=failed&outcome=unknown"),
    ]:
        assert led_to(verb, query) == {}, query


def test_gives_up_what_is_set_aside(upstream: Upstream, alarm_clock: FakeClock) -> None:
    """What is set aside is kept as failed, with the reason on record; other batches and batchers stay as they are."""
    unfinished = {"next_try_at": alarm_clock.now(), "finished_at": None}
    with_failed("late", 3, alarm_clock, upstream, status="set_aside", **unfinished)
    with_failed("early", 1, alarm_clock, upstream, status="open", **unfinished)
    assert figures(do_to_all("give_up", "", reason="they are sent by mail")) == ("done", 1, 1, 0, 0)
    given_up = Batch.objects.filter(batcher__name="late")
    assert {(batch.status, batch.answer) for batch in given_up} == {("failed", "they are sent by mail")}
    assert Batch.objects.get(batcher__name="early").status == "open"
    never = Batcher.objects.get_by_name("never")
    assert (never.fail_set_aside(), never.replay_failed()) == (0, 0)
    assert not Batcher.objects.filter(name="never").exists()


def test_the_page_offers_it_where_a_batch_failed(
    admin_client: Client, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """A batcher without failed batches, or with such alone that may have been delivered, has no button for it."""
    for name, batches, fields in (("none", 0, {}), ("some", 1, {}), ("unknown", 1, {"outcome_unknown": True})):
        batcher = with_failed(name, batches, alarm_clock, upstream, **fields)
        page = text_of(admin_client, page_url(Batcher, batcher.pk))
        assert ("Replay failed batches…" in page) == (name == "some")


def test_the_command(upstream: Upstream, alarm_clock: FakeClock) -> None:
    """``manage.py operations start`` does it, and says how many."""
    with_failed("orders", 2, alarm_clock, upstream)
    out = io.StringIO()
    call_command("operations", "start", "replay", "--where", "class:batcher.Batcher", "--yes", "--json", stdout=out)
    said = json.loads(out.getvalue().splitlines()[-1])
    assert (said["done"], said["failed"], said["state"]) == (1, 0, "done")
