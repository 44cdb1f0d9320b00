"""What a batcher's page asks of the database, by the real clock and outside of any transaction."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

import durable_objects
from batcher.models import Batch, Batcher
from durable_objects.tables import Alarm, Dispatcher
from tests.support.admin_pages import page_url, text_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.admin_urls")]

AHEAD, DUE = timedelta(seconds=50), timedelta(seconds=-3)


@pytest.mark.parametrize(
    ("due_in", "is_out", "says"),
    [
        (AHEAD, True, "is out, and waits for its time"),
        (AHEAD, False, "No wake-up is out for it."),
        (DUE, True, "has been out for"),
        (DUE, False, "No wake-up is out for it."),
        (40 * DUE, True, "has counted as lost for"),
    ],
)
def test_the_page_asks_little(
    admin_client: Client,
    django_assert_max_num_queries: DjangoAssertNumQueries,
    due_in: timedelta,
    is_out: bool,
    says: str,
) -> None:
    """A batcher's page takes at most 20 queries, however its alarm stands, with items that wait, a batch that failed
    and settings of its own.
    """
    at = durable_objects.now()
    Dispatcher.objects.create(process="d:1", started_at=at, last_pass_at=at)
    batcher = Batcher.objects.get_by_name("orders")
    batcher.configure(headers={"Authorization": "Bearer s3cret"}, upstream_url="http://127.0.0.1:9/in")
    batcher.add_item({"n": 1})
    Batch.objects.create(
        batcher_id=batcher.pk, items_json="[1]", item_count=1, first_item=1, status="failed", attempts=4,
        sealed_at=at, finished_at=at, give_up_at=at,
    )  # fmt: skip
    Alarm.objects.update(due_at=at + due_in, wake_up_for=at + due_in if is_out else None)
    admin_client.get(page_url(Batcher, batcher.pk))
    with django_assert_max_num_queries(20):
        text = text_of(admin_client, page_url(Batcher, batcher.pk))
    assert says in text
    assert "Replay failed batches" in text
