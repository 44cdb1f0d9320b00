"""What a digest looks like on each channel, and the links in it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from durable_objects.receiver import verify
from durable_objects.testing import FakeClock
from reminders.channels import Message
from reminders.models import Delivery, Recipient, Reminder
from tests.support.passing_time import pass_time
from tests.support.sent_messages import Sent
from tests.support.smtp_server import SmtpServer
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.django_db, pytest.mark.urls("project.urls")]

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS10ZXN0cy1vbmx5"
SITE = "https://remind.example.org"


@pytest.fixture(autouse=True)
def public(settings: Any) -> None:
    """The site has an address."""
    settings.REMINDERS = {"PUBLIC_URL": SITE}


@pytest.fixture
def smtp_server(settings: Any) -> Iterator[SmtpServer]:
    """A real SMTP server on the loopback that Django's mail goes to."""
    with SmtpServer() as office:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", office.port
        settings.DEFAULT_FROM_EMAIL = "Reminders <remind@example.org>"
        yield office


def send_digest(clock: FakeClock, *channels: str, **of_ada: Any) -> list[Reminder]:
    """Send ada one digest, of two series."""
    Recipient.objects.create(name="ada", digest_window=HOUR, **of_ada)
    reminders = [Reminder.objects.get_by_name(name) for name in ("milk", "tea")]
    for each, text in zip(reminders, ["Milk\nfor <b>all</b>", "Tea & cake"], strict=True):
        each.set_reminder(text, clock.now(), recurrence="FREQ=DAILY", channels=channels or ["log"], person="ada")
    pass_time(clock)
    pass_time(clock, HOUR)
    return reminders


def test_a_mail_lists_them(alarm_clock: FakeClock, smtp_server: SmtpServer) -> None:
    """One mail with each text and its links, in text and HTML; its Message-ID is made from the key of the digest."""
    send_digest(alarm_clock, "email", email="ada@example.org")
    (mail,) = smtp_server.mails
    (key,) = {row.digest for row in Delivery.objects.all()}
    assert (mail["Subject"], mail["Message-ID"]) == ("2 reminders: Milk; Tea & cake", f"<{key}@example.org>")
    text, page = (mail.get_body((kind,)).get_content().replace("\r\n", "\n") for kind in ("plain", "html"))  # type: ignore[union-attr]  # both are there
    assert text.startswith("2 reminders:\n\nMilk\nfor <b>all</b>\n\nSnooze: https://remind.example.org/")
    assert (text.count("Cancel: "), text.count("\nReminder “")) == (2, 2)
    assert "Milk<br>for &lt;b&gt;all&lt;/b&gt;" in page
    assert "Tea &amp; cake" in page
    assert (page.count(">Done</a>"), page.count("<html")) == (2, 1)


def test_a_webhook_gets_a_list(alarm_clock: FakeClock, upstream: Upstream) -> None:
    """A type of its own, its version, and of each reminder what its own webhook would have, with key and time."""
    start = alarm_clock.now()
    send_digest(alarm_clock, "webhook", webhook_url=upstream.url, webhook_secret=SECRET)
    (request,) = upstream.received
    assert verify(SECRET, request.headers, request.body) == str(Delivery.objects.all()[0].digest)
    assert (request.json["type"], request.json["timestamp"]) == ("reminder.digest", (start + HOUR).isoformat())
    data = request.json["data"]
    assert (data["version"], data["person"], sorted(data)) == (1, "ada", ["person", "reminders", "version"])
    first = data["reminders"][0]
    assert set(first.pop("links")) == {"snooze", "done", "cancel"}
    assert first == {
        "key": str(Delivery.objects.get(reminder__name="milk").key),
        "planned_at": start.isoformat(),
        "reminder": "milk",
        "person": "ada",
        "message": "Milk\nfor <b>all</b>",
        "late_seconds": 0,
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the modules that Apprise loads
def test_apprise_gets_plain_text(alarm_clock: FakeClock, upstream: Upstream, settings: Any) -> None:
    """Each text with its links below it."""
    settings.REMINDERS = {"PUBLIC_URL": SITE, "APPRISE": {"phones": upstream.url.replace("http:", "json:")}}
    send_digest(alarm_clock, "apprise:phones")
    (request,) = upstream.received
    assert request.json["title"] == "2 reminders: Milk; Tea & cake"
    assert request.json["message"].startswith("2 reminders:\n\n- Milk\nfor <b>all</b>\n\nsnooze: https://remind.")
    assert request.json["message"].count("done: ") == 2


def test_a_channel_that_knows_no_digests_gets_a_list(alarm_clock: FakeClock, sent: Sent) -> None:
    """The text of a digest says what is in it, for channels of a project's own."""
    send_digest(alarm_clock)
    assert (sent[0].text, sent[0].reminder, dict(sent[0].links)) == (
        "2 reminders:\n- Milk\nfor <b>all</b>\n- Tea & cake", "", {}
    )  # fmt: skip


def test_the_links_in_a_digest_act_on_one_reminder_each(alarm_clock: FakeClock, sent: Sent, client: Client) -> None:
    """Snooze, done and cancel are of one reminder; the other one of the digest is as it was."""
    start = alarm_clock.now()
    milk, tea = send_digest(alarm_clock)
    links = {item.reminder: item.links for item in sent[0].items}

    def act(reminder: str, verb: str, **data: str) -> str:
        return client.post(links[reminder][verb].removeprefix(SITE), data).content.decode()

    assert "Snoozed until " in act("milk", "snooze", by="hour")
    assert (milk.storage.get_alarm(), tea.storage.get_alarm()) == (start + 2 * HOUR, start + DAY)
    assert "Done. The next one comes on" in act("milk", "done")
    assert "Cancelled" in act("tea", "cancel")
    assert (milk.storage.get_alarm(), tea.get_reminder()) == (start + DAY, None)


def test_a_link_of_before_works_while_it_waits(alarm_clock: FakeClock, sent: Sent, client: Client) -> None:
    """Who opens yesterday's "cancel" while today's waits in a digest ends the series, and it is left out."""
    milk, tea = send_digest(alarm_clock)
    cancel = {item.reminder: item.links["cancel"].removeprefix(SITE) for item in sent[0].items}["milk"]
    pass_time(alarm_clock, DAY - HOUR)
    assert {plan.put_off for plan in (milk.plan(), tea.plan()) if plan} == {"digest"}
    assert "Cancelled" in client.post(cancel).content.decode()
    pass_time(alarm_clock, HOUR)
    assert [sent[-1].text, len(sent)] == ["Tea & cake", 2]


def test_the_title_of_a_digest_is_one_short_line() -> None:
    """However many there are, and whatever is in them, a subject is one line of 120 characters at most."""
    items = [Message(str(n), f"r{n}", f"text {n}\nmore\x1b[2J", FakeClock().now()) for n in range(40)]
    title = Message.of_digest("key", "ada", items[0].planned_at, items).title
    assert title.startswith("40 reminders: text 0; text 1; ")
    assert (len(title), title.isprintable()) == (120, True)
