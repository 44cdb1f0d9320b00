"""Batcher: a batch is split, or an item dropped from it, by a person; and what a replay would send is seen before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from batcher.models import Batch, Batcher
from durable_objects import InvalidInput
from durable_objects.testing import FakeClock, run_due_alarms
from tests.support.passing_time import pass_time
from tests.support.upstream import Answer, Upstream

pytestmark = pytest.mark.django_db

WINDOW = timedelta(seconds=10)


@pytest.fixture
def refused(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> Batch:
    """A batch of five items that was refused as a whole; from then on the upstream takes everything."""
    upstream.script(Answer(422, body=b"bad"))
    batcher.add_items(range(5))
    pass_time(alarm_clock, WINDOW)
    return Batch.objects.get()


def states(batcher: Batcher) -> list[str]:
    """What became of the first five items."""
    return [batcher.receipt(number + 1).state.value for number in range(5)]


def test_a_batch_is_split(batcher: Batcher, upstream: Upstream, refused: Batch) -> None:
    """Both halves go at once, under keys of their own; the batch is kept, says so, and is sent no more."""
    parts = batcher.split(refused.pk)
    assert [part.items for part in parts] == [[0, 1], [2, 3, 4]]
    run_due_alarms()
    assert states(batcher) == ["delivered"] * 5
    assert upstream.items[5:] == [0, 1, 2, 3, 4]
    refused.refresh_from_db()
    assert (refused.was_split, refused.failed_items) == (True, 0)
    with pytest.raises(InvalidInput, match="was split already"):
        batcher.split(refused.pk)


@pytest.mark.parametrize("place", [0, 2, 4])
def test_an_item_is_dropped(batcher: Batcher, upstream: Upstream, refused: Batch, place: int) -> None:
    """The others are delivered in order; the dropped one is kept alone as failed, with the reason, for a replay."""
    dropped = batcher.drop_item(refused.pk, place, "no such sku")
    run_due_alarms()
    assert upstream.items[5:] == [item for item in range(5) if item != place]
    assert states(batcher) == ["failed" if item == place else "delivered" for item in range(5)]
    assert (dropped.items, batcher.receipt(place + 1).why) == ([place], "dropped: no such sku")
    batcher.replay(dropped.pk)
    run_due_alarms()
    assert states(batcher) == ["delivered"] * 5


def test_one_that_is_tried_is_split_too(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """A batch in its quick retries, each of them refused by a clear answer, is split without waiting for its end: it is
    finished, and its parts alone are sent from then on.
    """
    upstream.script(Answer(500))
    batcher.add_items([1, 2])
    pass_time(alarm_clock, WINDOW)
    whole = Batch.objects.get()
    assert whole.status == "open"
    batcher.split(whole.pk)
    run_due_alarms()
    assert [batcher.receipt(number).state.value for number in (1, 2)] == ["delivered"] * 2
    pass_time(alarm_clock, timedelta(hours=1))
    assert upstream.items == [1, 2, 1, 2]
    whole.refresh_from_db()
    assert (whole.status, whole.was_split, whole.next_try_at) == ("failed", True, None)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"outcome_unknown": True}, "may have reached the upstream"),
        ({"outcomes": {"1": {"status": 422, "error": ""}}}, "item by item"),
        ({"status": "delivered"}, "is delivered"),
        ({"item_count": 1}, "has one item only"),
        ({"began_at": datetime(2026, 5, 1, tzinfo=UTC)}, "is being sent now"),
    ],
)
def test_what_may_be_under_its_key_stays_whole(
    batcher: Batcher, refused: Batch, fields: dict[str, object], why: str
) -> None:
    """Nothing is split of which the upstream may have an item: other keys would send that twice. Nothing changes."""
    Batch.objects.update(**fields)
    before = list(Batch.objects.values())
    for call in (lambda: batcher.split(refused.pk), lambda: batcher.drop_item(refused.pk, 0, "bad")):
        with pytest.raises(InvalidInput, match=why):
            call()
    assert list(Batch.objects.values()) == before


def test_what_a_person_tries_now_ends_a_pause(batcher: Batcher, refused: Batch, alarm_clock: FakeClock) -> None:
    """A batch that is replayed goes although the batcher was paused, and so does what waits, in its time."""
    batcher.add_item(5)
    batcher.cancel_alarm()
    batcher.replay(refused.pk)
    for _ in range(2):
        pass_time(alarm_clock, WINDOW)
    assert [batcher.receipt(number).state.value for number in (1, 6)] == ["delivered"] * 2


@pytest.mark.parametrize("place", [-1, 5, True, "1"])
def test_a_place_that_is_none(batcher: Batcher, refused: Batch, place: object) -> None:
    """An item that the batch does not have is refused, with the places that it has."""
    with pytest.raises(InvalidInput, match="from 0 to 4"):
        batcher.drop_item(refused.pk, place, "bad")  # type: ignore[arg-type]  # what a caller may pass
    assert Batch.objects.count() == 1


def test_a_preview_is_the_request_without_its_secrets(batcher: Batcher, upstream: Upstream, refused: Batch) -> None:
    """It has the address, the key, the body as it is sent, and a mask for each secret."""
    secret = "whsec_" + "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0"
    address = upstream.url.replace("//", "//ann:pa55word@")
    batcher.configure(upstream_url=address, headers={"Authorization": "Bearer s3cret"}, secret=secret)
    text = batcher.preview(refused)
    head, _, body = text.partition("\n\n")
    assert head.splitlines()[0] == f"POST {upstream.url.replace('//', '//••••••@')}"
    assert {"authorization: ••••••", f"idempotency-key: {refused.pk}", "webhook-signature: ••••••"} <= set(
        head.splitlines()
    )
    assert [word for word in ("s3cret", "pa55word", secret[6:]) if word in text] == []
    batcher.configure(upstream_url=upstream.url)
    batcher.replay(refused.pk)
    run_due_alarms()
    assert upstream.received[-1].body.decode() == body


def test_a_preview_of_a_long_batch_is_cut(batcher: Batcher, refused: Batch) -> None:
    """A page of it is enough; one without an upstream says where it goes."""
    Batch.objects.update(items_json=f'["{"x" * 100_000}"]')
    assert len(batcher.preview(refused)) < 4_000
    batcher.configure(upstream_url="")
    assert batcher.preview(refused).startswith("No upstream is set: the batch is logged")
