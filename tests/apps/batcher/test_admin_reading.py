"""How the pages of batches and batchers read."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from batcher.models import Batch, Batcher, BatcherSettings, Upstream
from durable_objects.testing import FakeClock
from tests.support.admin_pages import list_url, page_url, staff, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]


@pytest.fixture
def batch(alarm_clock: FakeClock) -> Batch:
    """A batch of one item that failed."""
    orders, at = Batcher.objects.get_by_name("orders"), alarm_clock.now()
    orders.configure(upstream_url="http://127.0.0.1:9/in")
    return Batch.objects.create(
        batcher_id=orders.pk, items_json="[1]", item_count=1, status="failed", attempts=1, status_code=503,
        sealed_at=at, give_up_at=at, finished_at=at,
    )  # fmt: skip


def test_one_is_not_many(batch: Batch, admin_client: Client, alarm_clock: FakeClock) -> None:
    """A batch of one item after one try, and an upstream with one failure, are told in the singular."""
    text = text_of(admin_client, page_url(Batch, batch.pk))
    assert "Sealed with 1 item " in text
    assert "1 try not kept" in text
    row = Upstream.objects.create(origin="http://127.0.0.1:9", state="half_open", failures=1, last_error="503")
    assert "1 failure in a row" in text_of(admin_client, page_url(Upstream, row.pk))


def test_status_and_time_stand_apart(batch: Batch, admin_client: Client) -> None:
    """In the list of batchers a status code does not run into the time since."""
    assert "failed 503, now" in text_of(admin_client, list_url(Batcher))


def test_filters_are_written_alike(batch: Batch, admin_client: Client) -> None:
    """A choice of several words is written as a sentence is."""
    assert "Set aside" in text_of(admin_client, list_url(Batch))
    assert "Half open" in text_of(admin_client, list_url(Upstream))


def test_a_url_is_written_as_one(batch: Batch, admin_client: Client) -> None:
    """The forms of batchers and recipients write URL in capitals."""
    assert "Upstream URL:" in text_of(admin_client, page_url(Batcher, batch.batcher_id))
    assert "Webhook URL:" in text_of(admin_client, reverse("admin:reminders_recipient_add"))


def test_who_may_only_view_gets_nothing_to_fill_in(batch: Batch, admin_client: Client) -> None:
    """Settings are shown to a viewer where there are some, as texts; where there are none there are no fields."""
    viewer = staff(f"batcher.view_{name}" for name in ("batcher", "batchersettings"))
    url = page_url(Batcher, batch.batcher_id)
    assert "Max items: -" in text_of(viewer, url)
    BatcherSettings.objects.all().delete()
    assert "Max items" not in text_of(viewer, url)
    assert 'name="settings-0-max_items"' in admin_client.get(url).content.decode()
    assert 'name="settings-' not in viewer.get(url).content.decode()


def test_a_whole_list_does_not_offer_all(batch: Batch, admin_client: Client) -> None:
    """The search box offers to show all rows where some may be missing, and nowhere else."""
    offered = "(<a href="
    for query, is_offered in [("", False), ("?q=ord", True), ("?status=failed", True)]:
        page = admin_client.get(f"{list_url(Batch)}{query}").content.decode()
        assert (offered in page) is is_offered, query
