"""What an alert and its messages say may quote objects: it is for those only to whom some list shows all of them."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from durable_objects.admin import DurableObjectAdmin
from reminders.alerts import watching
from reminders.models import Alert, AlertMessage, AlertRule
from tests.admin_urls import site
from tests.apps.reminders.alerts.conftest import MINUTE
from tests.models import Scripted
from tests.support.admin_pages import list_url, page_url, staff, text_of
from tests.support.many_alarms import dead_alarms
from tests.support.sent_messages import Sent

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]

OF_ALERTS = ["reminders.view_alertrule", "reminders.view_alertmessage"]
UNTOLD = "What it says is not shown"


@pytest.fixture
def alert(sent: Sent) -> Alert:
    """An alert whose text, and a message about it, quote the error of an object of one class."""
    dead_alarms(Scripted, 1, error="ValueError: the secret card was declined")
    AlertRule.objects.create(condition="dead", hold_for=0 * MINUTE, channels=["log"])
    watching.check(at_once=True)
    AlertMessage.objects.update(text="the secret card")  # of one line, as the list would show it
    return Alert.objects.get()


def pages(alert: Alert) -> list[str]:
    """All that says something of it."""
    message = AlertMessage.objects.get()
    return [
        *(page_url(AlertRule, alert.rule_id, page) for page in ("change", "history")),
        *(page_url(AlertMessage, message.pk, page) for page in ("change", "history")),
        *map(list_url, (AlertRule, AlertMessage)),
    ]


def told_on(client: Client, alert: Alert) -> list[str]:
    """The pages that quote the error."""
    return [url for url in pages(alert) if "secret" in client.get(url).content.decode()]


@pytest.mark.parametrize("permission", ["durable_objects.view_alarm", "tests.view_scripted"])
def test_it_is_quoted_to_who_is_shown_all_objects(alert: Alert, permission: str) -> None:
    """Who may view all alarms, or the classes that there are objects of, reads what was found on each page of it."""
    ann = staff([*OF_ALERTS, permission])
    rule, message = page_url(AlertRule, alert.rule_id), page_url(AlertMessage, AlertMessage.objects.get().pk)
    assert told_on(ann, alert) == [rule, message, list_url(AlertMessage)]


def test_nothing_is_quoted_to_who_may_see_alerts_only(alert: Alert) -> None:
    """Who may view rules and messages, and no objects, is told so in place of what was found, and of each message."""
    eve = staff(OF_ALERTS)
    assert told_on(eve, alert) == []
    for url in (
        page_url(AlertRule, alert.rule_id),
        page_url(AlertMessage, AlertMessage.objects.get().pk),
        list_url(AlertMessage),
    ):
        assert UNTOLD in text_of(eve, url)


def test_nothing_is_quoted_where_the_admin_of_a_class_hides_objects(
    alert: Alert, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same holds for who may view everything where a class's own admin shows him some of its objects only."""
    page: Any = site.get_model_admin(Scripted)
    rows = DurableObjectAdmin.get_queryset
    monkeypatch.setattr(page, "get_queryset", lambda request: rows(page, request).filter(name__startswith="own"))
    vic = staff([*OF_ALERTS, "durable_objects.view_alarm", "durable_objects.view_object", "tests.view_scripted"])
    assert told_on(vic, alert) == []


def test_messages_are_led_to_where_they_may_be_seen(alert: Alert) -> None:
    """A rule's page has a link to its messages for those only who may view messages."""
    url = page_url(AlertRule, alert.rule_id)
    assert "Messages of this rule" in text_of(staff(OF_ALERTS, "eve"), url)
    assert "Messages of this rule" not in text_of(staff(OF_ALERTS[:1], "vic"), url)
