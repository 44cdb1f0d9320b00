"""Reminders by Apprise: nothing of its URL in any log, no redirect followed, text as text, one service a name."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from durable_objects.testing import FakeClock
from reminders.checks import check_settings
from reminders.models import Delivery, Reminder
from tests.support.passing_time import outcomes
from tests.support.upstream import Answer, Upstream

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the modules that Apprise loads
]

TOKEN = "xoxb-7041776-s3cr3t"


def deliver(reminder: Reminder, clock: FakeClock, settings: Any, url: str, text: str = "tea") -> Delivery:
    """What came of one try by this Apprise URL."""
    settings.REMINDERS = {"APPRISE": {"phones": url}}
    reminder.set_reminder(text, clock.now(), channels=["apprise:phones"])
    outcomes(clock)
    return Delivery.objects.get()


@pytest.mark.parametrize("status", [200, 500, 0])
def test_nothing_of_the_url_gets_into_a_log(
    reminder: Reminder, alarm_clock: FakeClock, upstream: Upstream, settings: Any, caplog: Any, *, status: int
) -> None:
    """Neither Apprise nor what it stands on logs user, password or path, at whatever level; nor has the record them."""
    caplog.set_level(logging.DEBUG)
    if status:
        upstream.script(status)
    else:
        upstream.close()
    url = f"json://bob:pa%40ssw0rd@127.0.0.1:{upstream.port}/hooks/{TOKEN}?rto=3"
    row = deliver(reminder, alarm_clock, settings, url)
    assert row.status == ("delivered" if status == 200 else "failed")
    logged = caplog.text + row.error + row.answer
    assert "apprise" in {record.name for record in caplog.records}
    assert not [secret for secret in (TOKEN, "pa%40ssw0rd", "pa@ssw0rd", "s3cr3t") if secret in logged]


def test_a_url_that_is_none_is_not_told(reminder: Reminder, alarm_clock: FakeClock, settings: Any, caplog: Any) -> None:
    """Apprise logs what it cannot parse whole; here neither log, record nor check has it."""
    caplog.set_level(logging.DEBUG)
    row = deliver(reminder, alarm_clock, settings, f"nosuch://{TOKEN}/x")
    found = check_settings(None)
    assert (row.status, [each.id for each in found]) == ("failed", ["reminders.E005"])
    assert "'phones'" in found[0].msg
    assert TOKEN not in caplog.text + row.error + str(found)


def test_two_services_in_one_url_are_refused(settings: Any) -> None:
    """One that failed would have the other send again."""
    settings.REMINDERS = {"APPRISE": {"both": "json://localhost/a, json://localhost/b", "one": "json://localhost/a"}}
    (found,) = check_settings(None)
    assert (found.id, "'both'" in found.msg) == ("reminders.E005", True)


@pytest.mark.parametrize("more", ["", "?redirect=yes"])
def test_no_redirect_is_followed(
    reminder: Reminder, alarm_clock: FakeClock, upstream: Upstream, settings: Any, more: str
) -> None:
    """A redirect is a failed try, also where the URL asks to follow it: nobody else gets what it was not meant for."""
    with Upstream() as elsewhere:
        upstream.default = Answer(307, headers={"Location": elsewhere.url})
        row = deliver(reminder, alarm_clock, settings, upstream.url.replace("http:", "json:") + more)
        assert (row.status, len(upstream.received), elsewhere.received) == ("failed", 1, [])


def test_text_is_no_html(reminder: Reminder, alarm_clock: FakeClock, upstream: Upstream, settings: Any) -> None:
    """What somebody wrote shows as written by a service that shows HTML."""
    url = upstream.url.replace("http:", "json:") + "?format=html"
    assert deliver(reminder, alarm_clock, settings, url, "Buy <b>tea</b> & milk").status == "delivered"
    assert "&lt;b&gt;tea&lt;/b&gt;" in upstream.received[0].json["message"]
