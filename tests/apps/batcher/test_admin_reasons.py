"""Why a person gave a batch up, or sent one again that the upstream may have: kept with the batch itself."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from pytest_django import Settings

from batcher import batch_history
from batcher.models import Batch, Batcher
from durable_objects.operations import bulk, bulk_chunks
from durable_objects.testing import FakeClock
from tests.support.admin_pages import confirm, page_url, scripted, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]


@pytest.fixture
def batch(alarm_clock: FakeClock) -> Batch:
    """A batch that is set aside, and that the upstream may have."""
    at, batcher = alarm_clock.now(), Batcher.objects.get_by_name("orders")
    batcher.configure(upstream_url="http://127.0.0.1:9/in")
    return Batch.objects.create(
        batcher_id=batcher.pk or 0, items_json="[1]", item_count=1, first_item=1, attempts=4, status="set_aside",
        outcome_unknown=True, sealed_at=at, next_try_at=at, give_up_at=at + timedelta(days=1),
    )  # fmt: skip


def events(batch: Batch) -> list[tuple[str, str]]:
    """What people did to the batch, and why."""
    batch.refresh_from_db()
    return [(each.what, each.text) for each in batch_history.of(batch)]


def test_the_reason_is_in_the_batch_and_in_the_log(admin_client: Client, batch: Batch) -> None:
    """What is given with *Fail now*, and with *Replay*, is in the batch's own history, on its page and in the log."""
    assert confirm(admin_client, Batch, "fail", [batch.pk], reason="sent by mail") == ["Given up: orders."]
    assert confirm(admin_client, Batch, "replay", [batch.pk], reason="they lost it") == ["Replay requested: orders."]
    assert confirm(admin_client, Batch, "fail", [batch.pk]) == ["Given up: orders."]
    assert confirm(admin_client, Batch, "replay", [batch.pk]) == ["Replay requested: orders."]
    assert events(batch) == [
        ("given up", "sent by mail"),
        ("replayed", "they lost it"),
        ("given up", "failed by hand"),
        ("replayed", ""),
    ]
    page = text_of(admin_client, page_url(Batch, batch.pk))
    assert "sent by mail" in page
    assert "they lost it" in page
    log = [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")]
    assert log[:2] == [f"Given up (sent by mail) ({batch}).", f"Replay requested (they lost it) ({batch})."]


def test_a_reason_is_required_for_what_the_upstream_may_have(
    admin_client: Client, batch: Batch, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Where ``REQUIRE_REASON`` asks, a batch that the upstream may have is not sent again without one, and one that it
    does not have is.
    """
    asking: dict[str, Any] = {**copy.copy(settings.DURABLE_OBJECTS), "REQUIRE_REASON": True}
    settings.DURABLE_OBJECTS = asking
    (refused,) = confirm(admin_client, Batch, "replay", [batch.pk])
    assert refused.startswith("Not done for orders: a reason is required for this")
    assert events(batch) == []
    confirm(admin_client, Batch, "replay", [batch.pk], reason="they lost it")
    Batch.objects.update(outcome_unknown=False)
    confirm(admin_client, Batch, "replay", [batch.pk])
    assert events(batch) == [("replayed", "they lost it"), ("replayed", "")]
    assert "'orders': replay requested by hand, by admin: they lost it" in caplog.text


def test_a_batch_of_what_is_no_batcher_is_refused(admin_client: Client, batch: Batch) -> None:
    """A batch whose object is of another class by now is left alone, and the message names the class."""
    Batch.objects.update(batcher_id=scripted("other").pk)
    says = f"Not done for other: {batch} belongs to an object of tests.Scripted, which is not a batcher"
    for verb in ("fail", "replay", "split"):
        assert confirm(admin_client, Batch, verb, [batch.pk]) == [says]
    assert events(batch) == []


@pytest.mark.django_db(transaction=True)
def test_an_operation_leaves_its_reason_with_each_batch(batch: Batch) -> None:
    """The reason of an operation that sends again what the upstream may have is in each batch's history."""
    Batch.objects.update(status="failed", finished_at=batch.sealed_at, next_try_at=None)
    row = bulk.start("replay_unknown", "", by="ada", reason="they lost them")
    bulk_chunks.drive(row.pk, row.fence)
    assert events(batch) == [("replayed", "they lost them")]
