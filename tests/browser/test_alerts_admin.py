"""Alert rules as people see them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Page
from pytest_django.live_server_helper import LiveServer

from durable_objects import now
from reminders.models import Alert, AlertMessage, AlertRule

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_a_rule_is_tried_out_and_silenced(
    admin: Page, live_server: LiveServer, screenshot: Callable[[str], None]
) -> None:
    """From the list to the rule, a test that arrives, a silence with its reason, and its end."""
    rule = AlertRule.objects.create(condition="dead", at_least=10, channels=["log"], person="ops")
    began = now() - timedelta(hours=3)
    Alert.objects.create(
        rule=rule, state="over", since=began, seen_at=began, ended_at=began + timedelta(minutes=12), reported=True,
        text="Dead alarms: 112. The newest says: CardDeclined: 17", messages_made=2,
    )  # fmt: skip
    Alert.objects.create(
        rule=rule, state="firing", since=now() - timedelta(minutes=7), seen_at=now(), reported=True,
        text="Dead alarms: 2,412. The newest says: GatewayTimeout: no answer within 10 s", messages_made=1,
    )  # fmt: skip
    admin.goto(f"{live_server.url}/admin/reminders/alertrule/")
    screenshot("alert-rules")
    admin.click("text=Alarms are dead")
    screenshot("alert-rule")
    admin.click("text=Send a test…")
    admin.click("text=Yes: send a test")
    admin.wait_for_selector("text=log: delivered.")
    admin.click("text=Silence…")
    admin.fill("[name=lasts]", "1d")
    admin.fill("[name=reason]", "the bank is down")
    screenshot("alert-silence")
    admin.click("text=Yes: silence")
    admin.wait_for_selector("text=by ada: the bank is down.")
    admin.click("text=End the silence…")
    admin.click("text=Yes: end the silence")
    admin.wait_for_selector("text=It is reported again")
    admin.click("text=Messages of this rule")
    admin.wait_for_selector("text=Test of an alert")
    screenshot("alert-messages")
    assert AlertMessage.objects.count() == 1
