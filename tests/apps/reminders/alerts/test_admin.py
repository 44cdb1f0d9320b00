"""Alert rules in admin: entered by a form, tried out and silenced after a question, by who may change them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from durable_objects import now
from durable_objects.testing import FakeClock
from reminders.alerts import silences, watching
from reminders.channels import Message
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


@pytest.mark.parametrize("verb", ["test", "silence", "unsilence"])
def test_a_rule_that_is_gone_is_not_found(admin_client: Client, verb: str) -> None:
    """Its verbs answer 404, as its page would."""
    assert admin_client.post(f"{LIST}7/{verb}/").status_code == 404


def test_a_test_that_fails_says_why(admin_client: Client, rule: AlertRule, sent: Sent) -> None:
    """What the channel raised is shown, as an error."""

    def down(message: Message) -> None:
        raise ConnectionError("no route to the mail server")

    sent.act = down
    answer = admin_client.post(f"{LIST}{rule.pk}/test/", follow=True)
    (said,) = answer.context["messages"]
    assert (said.level_tag, "no route to the mail server" in said.message) == ("error", True)


def test_a_silence_that_is_too_long_is_refused_in_the_form(admin_client: Client, rule: AlertRule) -> None:
    """What a silence may not be is said beside the question, and nothing is logged."""
    page = admin_client.post(f"{LIST}{rule.pk}/silence/", {"lasts": "400d"}).content.decode()
    assert "at most 366 days" in page
    assert not LogEntry.objects.exists()


def test_a_silence_that_is_over_is_no_more(admin_client: Client, rule: AlertRule, alarm_clock: FakeClock) -> None:
    """The page neither shows it nor offers to end it, and whoever ends it all the same has done nothing: no log."""
    silences.silence(rule, MINUTE, by="ada", reason="known")
    page = f"{LIST}{rule.pk}/change/"
    assert "End the silence" in text_of(admin_client, page)
    alarm_clock.advance(2 * MINUTE)
    assert "known" not in text_of(admin_client, page)
    assert "End the silence" not in text_of(admin_client, page)
    answer = admin_client.post(f"{LIST}{rule.pk}/unsilence/", follow=True)
    assert list(answer.context["messages"]) == []
    assert not LogEntry.objects.exists()


def test_an_alert_that_is_over_is_on_the_page_and_not_in_the_list(
    admin_client: Client, rule: AlertRule, fire: Fire, minutes: Callable[[float], None], sent: Sent
) -> None:
    """A rule's page has its alerts, the newest first; the list says since when one stands that is not over."""
    assert "Its condition has not held yet." in text_of(admin_client, f"{LIST}{rule.pk}/change/")
    for subject in ("shed", "barn"):
        fire.burn(subject)
        minutes(3)
        assert "<time" in text_of(admin_client, LIST)
        fire.go_out()
        minutes(3)
    assert "<time" not in text_of(admin_client, LIST)
    page = text_of(admin_client, f"{LIST}{rule.pk}/change/")
    assert page.index("the barn") < page.index("the shed")


def test_a_list_of_messages_has_their_first_lines(
    admin_client: Client, rule: AlertRule, fire: Fire, minutes: Callable[[float], None], sent: Sent
) -> None:
    """Which rule it is of and what happened, and not what was found, which may be long."""
    fire.burn("shed")
    minutes(3)
    page = text_of(admin_client, "/admin/reminders/alertmessage/")
    assert "Alert: It burns" in page
    assert "the shed" not in page


def test_a_rule_that_this_code_cannot_judge(admin_client: Client, rule: AlertRule) -> None:
    """Its page says so with the reason, and keeps the condition that is not known here chosen: it is not changed into
    another one in passing.
    """
    AlertRule.objects.update(condition="flood")
    watching.check(at_once=True)
    page = f"{LIST}{rule.pk}/change/"
    assert "It could not be judged: InvalidInput: no condition" in text_of(admin_client, page)
    assert form_of(admin_client, page)["condition"] == ["flood"]


def test_what_a_rule_leaves_out_stays_left_out(admin_client: Client, rule: AlertRule) -> None:
    """The defaults of a new rule are not those of a rule that is there: one without repeats keeps none."""
    AlertRule.objects.update(repeat_every=None)
    page = f"{LIST}{rule.pk}/change/"
    assert form_of(admin_client, page)["repeat_every"] == [""]
