"""The overview's lines: where each leads, what is kept of them for a moment, and what people did, by who may see it."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from durable_objects.admin import DurableObjectAdmin
from durable_objects.admin.overview import people
from durable_objects.models import DurableObject
from durable_objects.operations import bulk, pauses
from durable_objects.tables import Alarm, ClassLimit, Dispatcher, Object, Operation
from durable_objects.testing import FakeClock
from tests.admin_urls import site
from tests.models import Counter, Grouped, Impatient, Scripted
from tests.support.admin_pages import page_url, scripted, staff, text_of
from tests.support.limited_alarms import Limiting

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]

MINUTE = timedelta(minutes=1)


def panel(name: str) -> str:
    """The address of a part of the overview."""
    return f"{reverse('admin:durable_objects_overview_panels')}?panel={name}"


def due(model: type[DurableObject], clock: FakeClock, ago: timedelta) -> None:
    """An object of the class whose alarm has been due for so long."""
    row = Object.objects.create(kind_id=model.kind_pk(), name=f"{model.__name__}-{ago}")
    at = dict.fromkeys(["scheduled_at", "due_at"], clock.now() - ago)
    Alarm.objects.create(object=row, kind_id=row.kind_id, state="armed", **at)


def lines(client: Client) -> list[str]:
    """The rows of what waits, as they stand on the page."""
    page = client.get(panel("late")).content.decode()
    return re.findall(r"<tr><th scope=\"row\">.*?</tr>", page, re.DOTALL)


def test_each_line_leads_to_what_it_counts(admin_client: Client, alarm_clock: FakeClock, limit: Limiting) -> None:
    """The list that a line leads to has as many alarms as it says (what is late is due as well); only what is late is
    offered to be run, and each class that is paused says why it is, and not why another one is.
    """
    limit(concurrency=1)
    due(Counter, alarm_clock, 3 * MINUTE)
    for seconds in (1, 2):
        due(Counter, alarm_clock, timedelta(seconds=seconds))
    for model, why in ((Impatient, "stock-taking"), (Grouped, "a new price")):
        due(model, alarm_clock, 2 * MINUTE)
        pauses.pause(model, by="ann", reason=why)
    due(Scripted, alarm_clock, 2 * MINUTE)
    ClassLimit.objects.create(kind_id=Scripted.kind_pk(), last_start_at=alarm_clock.now())
    found = lines(admin_client)
    for line in found:
        (to,) = re.findall(r'href="([^"]*)">Show<', line)
        (number,) = re.findall(r'do-number">(\d+)<', line)
        listed = len(admin_client.get(html.unescape(to)).context["cl"].result_list)
        assert listed == int(number) + ("just due" in line), line
    assert sorted(re.findall(r"do-badge[^>]*>([^<]*)<", "".join(found))) == [
        "just due", "late", "paused", "paused", "waits for its limits",
    ]  # fmt: skip
    assert [line for line in found if "Run all…" in line] == [line for line in found if ">late<" in line]
    assert [("stock-taking" in line, "a new price" in line) for line in found if ">paused<" in line] in (
        [(True, False), (False, True)],
        [(False, True), (True, False)],
    )
    assert ["as its limits allow" in line for line in found] == ["waits for its limits" in line for line in found]


def test_another_class_that_is_late_says_why_at_once(admin_client: Client, alarm_clock: FakeClock) -> None:
    """Why classes are late is kept for a moment; one that has come to be late since says why as well."""
    at = alarm_clock.now()
    Dispatcher.objects.create(process="d:1", started_at=at, last_pass_at=at)
    due(Counter, alarm_clock, 2 * MINUTE)
    assert text_of(admin_client, panel("late")).count("No wake-up is out for it.") == 1
    due(Impatient, alarm_clock, 2 * MINUTE)
    assert text_of(admin_client, panel("late")).count("No wake-up is out for it.") == 2


def test_a_cache_that_is_away_costs_a_read(
    admin_client: Client, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The overview says the same where Django's cache raises whatever it is asked."""

    def away(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("the cache is away")

    at = alarm_clock.now()
    Dispatcher.objects.create(process="d:1", started_at=at, last_pass_at=at)
    due(Counter, alarm_clock, 2 * MINUTE)
    said = text_of(admin_client, panel("late"))
    for name in ("get", "set"):
        monkeypatch.setattr(cache, name, away)
    assert text_of(admin_client, panel("late")) == said


def test_operations_under_way_are_for_who_may_view_them(alarm_clock: FakeClock) -> None:
    """Those that are done are not among them, and who may not view operations is told of none."""
    of_alarms = ["durable_objects.view_alarm"]
    ann, eve = staff([*of_alarms, "durable_objects.view_operation"], "ann"), staff(of_alarms, "eve")
    done = bulk.start("revive", "state:dead", by="bob", reason="the first")
    Operation.objects.filter(pk=done.pk).update(state="done")
    bulk.start("revive", "state:dead", by="bob", reason="the second")
    page = text_of(ann, panel("people"))
    assert "the first" not in page
    assert "the second" in page
    assert "bob" not in text_of(eve, panel("people"))


def test_the_last_acts_lead_to_their_objects(
    admin_client: Client, admin_user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more are shown than the last, each with the page of its object, also to whom its class shows some only."""
    monkeypatch.setattr(people, "SHOWN", 2)
    one = scripted("own")
    entry = {"user_id": admin_user.pk, "content_type_id": Scripted.kind_pk(), "object_id": str(one.pk)}
    for number in range(3):
        LogEntry.objects.create(object_repr="own", action_flag=CHANGE, change_message=f"Act {number}.", **entry)
    of_one = f'<a href="{page_url(Object, one.pk)}">own</a>'
    assert admin_client.get(panel("people")).content.decode().count(of_one) == 2
    page: Any = site.get_model_admin(Scripted)
    rows = DurableObjectAdmin.get_queryset
    monkeypatch.setattr(page, "get_queryset", lambda request: rows(page, request).filter(name__startswith="own"))
    assert admin_client.get(panel("people")).content.decode().count(of_one) == 2
