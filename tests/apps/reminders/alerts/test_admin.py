"""Alert rules in admin: entered by a form, tried out and silenced after a question, by who may change them."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from durable_objects import now
from reminders.alerts import watching
from reminders.models import AlertMessage, AlertRule
from tests.apps.reminders.alerts.conftest import MINUTE, Fire
from tests.support.admin_pages import form_of, staff
from tests.support.sent_messages import Sent

pytestmark = pytest.mark.django_db

LIST = "/admin/reminders/alertrule/"


def text_of(client: Client, url: str) -> str:
    """What the page says."""
    return client.get(url).content.decode()


def test_a_rule_is_entered_and_changed(admin_client: Client, fire: Fire) -> None:
    """Spans as 15m; channels as boxes, those of the settings checked."""
    form = form_of(admin_client, f"{LIST}add/")
    assert form["channels"] in ("log", ["log"])
    answer = admin_client.post(f"{LIST}add/", {**form, "condition": "late", "span": "15m", "hold_for": "2m"})
    assert answer.status_code == 302, answer.context["errors"]
    rule = AlertRule.objects.get()
    assert (rule.condition, rule.span, rule.hold_for, rule.channels) == ("late", 15 * MINUTE, 2 * MINUTE, ["log"])
    page = f"{LIST}{rule.pk}/change/"
    admin_client.post(page, {**form_of(admin_client, page), "span": "1h"})
    rule.refresh_from_db()
    assert (rule.span, rule.hold_for) == (60 * MINUTE, 2 * MINUTE)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"condition": "fire", "object_class": "shop.Cart"}, "has no object_class"),
        ({"condition": "late", "object_class": "shop.Cart"}, "no class of objects"),
        ({"condition": "fire", "repeat_every": "1s"}, "a minute or more"),
        ({"condition": "smoke"}, "not one of the available choices"),
        ({"condition": "fire", "hold_for": "soon"}, "not a span of time"),
    ],
)
def test_what_the_form_refuses(admin_client: Client, fire: Fire, given: dict[str, str], problem: str) -> None:
    """What could be neither judged nor sent, in words; and nothing is stored."""
    answer = admin_client.post(f"{LIST}add/", {**form_of(admin_client, f"{LIST}add/"), **given})
    assert problem in answer.content.decode()
    assert not AlertRule.objects.exists()


def test_a_test_message_after_a_question(admin_client: Client, rule: AlertRule, sent: Sent) -> None:
    """The question sends nothing; the answer shows what came of each channel, and is logged."""
    url = f"{LIST}{rule.pk}/test/"
    assert "Send a test message by log?" in text_of(admin_client, url)
    assert sent == []
    answer = admin_client.post(url, follow=True)
    assert "Log: delivered." in answer.content.decode()
    assert len(sent) == 1
    assert LogEntry.objects.get().change_message == "Test sent."


def test_a_silence_after_a_question(admin_client: Client, rule: AlertRule, fire: Fire) -> None:
    """With its reason, by whom and until when on the page; ended after another one; both are logged."""
    rule.hold_for = 0 * MINUTE
    rule.save()
    fire.burn()
    url = f"{LIST}{rule.pk}/silence/"
    assert "Report nothing of this rule for a while?" in text_of(admin_client, url)
    assert "not a span of time" in admin_client.post(url, {"lasts": "soon"}).content.decode()
    page = admin_client.post(url, {"lasts": "2h", "reason": "known"}, follow=True).content.decode()
    assert "by admin: known." in page
    watching.check(at_once=True)
    assert not AlertMessage.objects.exists()
    assert "silenced" in text_of(admin_client, LIST)
    admin_client.post(f"{LIST}{rule.pk}/unsilence/")
    watching.check(at_once=True)
    assert AlertMessage.objects.count() == 1
    rule.refresh_from_db()
    assert not rule.is_silenced(now())
    assert [entry.change_message.partition(" ")[0] for entry in LogEntry.objects.order_by("pk")] == [
        "Silenced",
        "Silence",
    ]
    assert "It burns." in text_of(admin_client, f"{LIST}{rule.pk}/change/")


@pytest.mark.parametrize("verb", ["test", "silence", "unsilence"])
def test_who_may_only_view_is_asked_nothing(rule: AlertRule, sent: Sent, verb: str) -> None:
    """Neither question nor answer; and the page offers no button."""
    client = staff(["reminders.view_alertrule"])
    url = f"{LIST}{rule.pk}/{verb}/"
    assert client.get(url).status_code == client.post(url, {"lasts": "2h"}).status_code == 403
    assert f"/{verb}/" not in text_of(client, f"{LIST}{rule.pk}/change/")
    assert sent == []
