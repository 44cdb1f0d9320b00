"""Two admin sites in one project: each leads to pages of its own."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import path

from batcher.models import Batch, Batcher, Upstream
from durable_objects.admin import DurableObjectAdmin
from durable_objects.operations import bulk, pauses
from durable_objects.tables import Alarm, AlarmRun, Entry, Object, Operation, Pause, Schedule
from durable_objects.testing import FakeClock, run_due_alarms
from reminders.models import AlertRule, Reminder
from tests.models import Script, Scripted
from tests.support.admin_pages import fail

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.engine.admin.test_second_site")]

site = admin.AdminSite(name="ops")
for _model, _admin in admin.site._registry.items():
    site.register(_model, type(_admin))
site.register(Scripted, DurableObjectAdmin)

#: Sites with the admin of one model only, beside those.
FEW = [
    Scripted, Object, Alarm, Entry, AlarmRun, Schedule, Pause, Operation, Batch, Batcher, Upstream, Reminder, AlertRule,
]  # fmt: skip
few = {model.__name__.lower(): admin.AdminSite(name=f"few-{model.__name__.lower()}") for model in FEW}
for _model in FEW:
    few[_model.__name__.lower()].register(_model, type(site._registry[_model]))

urlpatterns = [
    path("admin/", admin.site.urls),
    path("ops/", site.urls),
    *(path(f"few-{name}/", one.urls) for name, one in few.items()),
]

#: Pages that are looked at, at most.
MOST = 400
LED_TO = re.compile(r"(?:href|action|data-refresh|data-url)=\"([^\"#]*)")


@pytest.fixture
def rows(script: Script, alarm_clock: FakeClock) -> None:
    """Something on every list: objects with runs, entries and schedules, a batch, a reminder, an operation, a pause."""
    script.alarm = fail
    for name in "ab":
        obj = Scripted.objects.get_by_name(name)
        obj.storage.put("key", 1)
        obj.storage.set_alarm(timedelta(0))
        obj.schedules.set("daily", "scheduled", every=timedelta(days=1))
    run_due_alarms()
    batcher = Batcher.objects.get_by_name("orders")
    batcher.add_item(1)
    moments = dict.fromkeys(("sealed_at", "give_up_at", "finished_at"), alarm_clock.now())
    Batch.objects.create(batcher_id=batcher.pk, items_json="[1, 2]", item_count=2, status="failed", **moments)
    Reminder.objects.get_by_name("tea").set_reminder("tea", alarm_clock.now() + timedelta(hours=1))
    Upstream.objects.create(origin="https://upstream.example")
    AlertRule.objects.create(condition="late", channels=["mail"])
    bulk.start("run", "class:tests.Scripted", by="ada")
    pauses.pause(Scripted.objects.get_by_name("a"), reason="prices", by="ada")


@pytest.mark.slow
def test_every_page_leads_to_pages_of_its_own_site(rows: None, admin_client: Client) -> None:
    """No page of a site of another name leads to the default one, nor to a page that is not there."""
    seen, away = walk(admin_client, "/ops/", MOST)
    assert away == set()
    assert {"/ops/durable_objects/alarm/", "/ops/batcher/batch/", "/ops/reminders/reminder/"} <= seen


@pytest.mark.parametrize("name", few)
def test_a_site_need_not_have_the_admins_of_all_models(name: str, rows: None, admin_client: Client) -> None:
    """A site with the admin of one model has its pages, and each leads to pages that are there."""
    seen, away = walk(admin_client, f"/few-{name}/", 40)
    assert away == set()
    assert any(url.endswith("/change/") for url in seen)


def walk(client: Client, start: str, most: int) -> tuple[set[str], set[tuple[str, str]]]:
    """The addresses that are led to from the first page of a site, up to so many, and those that leave it."""
    to_see, seen, away = [start], {start}, set()
    while to_see and len(seen) < most:
        url = to_see.pop(0)
        answer = client.get(url)
        if answer.status_code == 302:
            found = [answer["Location"]]
        else:
            assert answer.status_code in {200, 405}, url  # 405: where a form posts to
            if not answer["Content-Type"].startswith("text/html"):
                continue
            found = LED_TO.findall(unescape(answer.content.decode()))
        away |= {(url, each) for each in found if each.startswith("/admin/")}
        for each in found:
            plain = each.partition("?")[0]
            if plain.startswith(start) and "logout" not in plain and "auth" not in plain and plain not in seen:
                seen.add(plain)
                to_see.append(each)
    return seen, away
