"""The pages of upstreams, and the form of a batcher's spans of time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client

from batcher.models import Batcher, BatcherSettings, Upstream
from durable_objects.testing import FakeClock, run_due_alarms
from tests.apps.batcher.test_admin import form
from tests.support.admin_pages import list_url, page_url, staff, text_of
from tests.support.passing_time import pass_time
from tests.support.upstream import Answer
from tests.support.upstream import Upstream as Server

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]


def test_every_upstream_is_listed(
    admin_client: Client, batcher: Batcher, upstream: Server, alarm_clock: FakeClock
) -> None:
    """Also one that never failed, as closed: posts go there."""
    batcher.add_item(1)
    pass_time(alarm_clock, timedelta(seconds=10))
    row = Upstream.objects.get()
    assert f"{row.origin} closed 0" in text_of(admin_client, list_url(Upstream))
    page = text_of(admin_client, page_url(Upstream, row.pk.replace("/", "_2F").replace(":", "_3A")))
    assert "Posts go there." in page
    assert "Try now" not in page


def test_what_waits_for_an_upstream_is_tried_now(
    admin_client: Client, batcher: Batcher, upstream: Server, alarm_clock: FakeClock
) -> None:
    """An open breaker's page names a batcher that waits, and its button asks to flush that: the probe goes at once."""
    upstream.default = Answer(503)
    batcher.add_item(1)
    for _ in range(8):
        pass_time(alarm_clock, timedelta(seconds=70))
    row = Upstream.objects.get()
    assert row.state == "open"
    url = page_url(Upstream, row.pk.replace("/", "_2F").replace(":", "_3A"))
    page = text_of(admin_client, url)
    assert "A batch waits for it, of orders . Try now…" in page
    assert "do-breaker-open" in admin_client.get(url).content.decode()
    looker = staff(["batcher.view_upstream", "batcher.view_batcher"])
    assert "Try now" not in text_of(looker, url)
    data = {"action": "flush", "_selected_action": batcher.pk}
    assert "Yes: flush" in admin_client.post(list_url(Batcher), data).content.decode()
    upstream.default = Answer(200)
    admin_client.post(list_url(Batcher), {**data, "confirmed": "yes"})
    run_due_alarms()
    row.refresh_from_db()
    assert row.state == "closed"


def test_spans_are_written_as_people_do(admin_client: Client, batcher: Batcher) -> None:
    """A batcher's times are read as 1m 30s or 2d, shown so, and refused in words."""
    url = page_url(Batcher, batcher.pk)
    values = {"upstream_url": "http://127.0.0.1:9/in", "window": "1m 30s", "give_up_after": "2d"}
    assert admin_client.post(url, form(batcher.pk, **values)).status_code == 302
    row = BatcherSettings.objects.get()
    assert (row.window, row.give_up_after) == (timedelta(seconds=90), timedelta(days=2))
    page = admin_client.get(url).content.decode()
    assert 'value="1m 30s"' in page
    assert 'value="2d"' in page
    refused = admin_client.post(url, form(batcher.pk, window="soon")).content.decode()
    assert "is not a span of time. Allowed: numbers with units" in refused
