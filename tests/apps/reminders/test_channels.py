"""The ways in which reminders go out: mail to a real SMTP server, signed webhooks to a real receiver, Apprise."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from django.core.mail.backends.base import BaseEmailBackend

from durable_objects.receiver import verify
from durable_objects.testing import FakeClock
from reminders.checks import check_settings
from reminders.models import Delivery, Recipient, Reminder
from tests.support.passing_time import outcomes
from tests.support.sent_messages import Sent
from tests.support.smtp_server import SmtpServer
from tests.support.upstream import Answer, Upstream

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS10ZXN0cy1vbmx5"


class Refusal(NamedTuple):
    """What a mail server says to a mail's sender, or else after its content; whether it would say so again."""

    answer: str
    to_sender: bool
    is_final: bool


@pytest.fixture
def smtp_server(settings: Any) -> Iterator[SmtpServer]:
    """A real SMTP server on the loopback that Django's mail goes to."""
    with SmtpServer() as office:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", office.port
        settings.DEFAULT_FROM_EMAIL = "Reminders <remind@example.org>"
        yield office


def test_a_mail_in_text_and_html(reminder: Reminder, alarm_clock: FakeClock, smtp_server: SmtpServer) -> None:
    """To the recipient's address, with the text in both forms, markup escaped, and a Message-ID made from the key."""
    Recipient.objects.create(name="ada", email="ada@example.org")
    reminder.set_reminder("Buy <b>tea</b>\nand milk", alarm_clock.now(), channels=["email"], person="ada")
    assert outcomes(alarm_clock) == ["succeeded"]
    (mail,) = smtp_server.mails
    delivery = Delivery.objects.get()
    assert smtp_server.to == ["ada@example.org"]
    assert (mail["Subject"], mail["Message-ID"]) == ("Buy <b>tea</b>", f"<{delivery.key}@example.org>")
    text, page = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert page is not None
    assert "Buy <b>tea</b>\nand milk" in text.get_content().replace("\r\n", "\n")
    assert "Buy &lt;b&gt;tea&lt;/b&gt;<br>and milk" in page.get_content()
    assert (delivery.status, delivery.answer) == ("delivered", "handed to the mail server for ada@example.org")


def test_each_address_has_an_outcome_of_its_own(
    reminder: Reminder, alarm_clock: FakeClock, smtp_server: SmtpServer, settings: Any
) -> None:
    """One mail for each address, that names nobody else: one that is refused is so for good, one that is put off is
    tried again alone, and none of them gets it twice.
    """
    settings.REMINDERS = {"EMAIL_TO": ["a@example.org", "gone@example.org", "busy@example.org", "a@example.org"]}
    smtp_server.to_addresses = {"gone@example.org": ["550 no such user"] * 9, "busy@example.org": ["450 greylisted"]}
    reminder.set_reminder("tea", alarm_clock.now(), channels=["email"])
    assert outcomes(alarm_clock) == ["failed"]
    assert {row.address: (row.status, row.attempts) for row in Delivery.objects.all()} == {
        "a@example.org": ("delivered", 1),
        "gone@example.org": ("refused", 1),
        "busy@example.org": ("failed", 1),
    }
    assert outcomes(alarm_clock, timedelta(seconds=2)) == ["succeeded"]
    assert outcomes(alarm_clock, HOUR) == []
    assert {row.address: (row.status, row.attempts) for row in Delivery.objects.all()} == {
        "a@example.org": ("delivered", 1),
        "gone@example.org": ("refused", 1),
        "busy@example.org": ("delivered", 2),
    }
    assert smtp_server.to == [mail["To"] for mail in smtp_server.mails] == ["a@example.org", "busy@example.org"]


@pytest.mark.parametrize(
    "case",
    [
        Refusal("552 too much mail data", to_sender=False, is_final=True),
        Refusal("554 no", to_sender=False, is_final=True),
        Refusal("450 later", to_sender=False, is_final=False),
        Refusal("553 not from you", to_sender=True, is_final=True),
        Refusal("552 too large", to_sender=True, is_final=True),
        Refusal("451 later", to_sender=True, is_final=False),
        Refusal("530 log in first", to_sender=True, is_final=False),
    ],
    ids=lambda case: f"{case.answer} to the {'sender' if case.to_sender else 'content'}",
)
def test_a_mail_that_is_refused_for_good_goes_once(
    reminder: Reminder, alarm_clock: FakeClock, smtp_server: SmtpServer, settings: Any, case: Refusal
) -> None:
    """5xx to the sender or after the content is final, 4xx is not; nor is an answer about our own login."""
    settings.REMINDERS = {"EMAIL_TO": ["a@example.org"]}
    answers = smtp_server.to_senders if case.to_sender else smtp_server.answers
    answers += [case.answer] * (9 if case.is_final else 1)
    reminder.set_reminder("tea", alarm_clock.now(), channels=["email"])
    outcomes(alarm_clock)
    outcomes(alarm_clock, timedelta(seconds=2))
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.attempts) == (("refused", 1) if case.is_final else ("delivered", 2))
    assert (case.answer in delivery.error) == case.is_final


def test_a_mail_backend_that_sends_nothing_has_not_delivered(
    reminder: Reminder, alarm_clock: FakeClock, settings: Any
) -> None:
    """A backend that says that it sent no mail is a failed try."""
    settings.REMINDERS = {"EMAIL_TO": ["a@example.org"]}
    settings.EMAIL_BACKEND = f"{__name__}.Nothing"
    reminder.set_reminder("tea", alarm_clock.now(), channels=["email"])
    assert outcomes(alarm_clock) == ["failed"]
    assert "sent nothing to a@example.org" in Delivery.objects.get().error


class Nothing(BaseEmailBackend):
    """A mail backend that sends nothing."""

    def send_messages(self, email_messages: Any) -> int:
        return 0


def test_what_is_on_record_of_a_delivery_outlives_it(
    reminder: Reminder, alarm_clock: FakeClock, smtp_server: SmtpServer, settings: Any
) -> None:
    """However few deliveries are kept, those of one that is still tried are: nobody gets it twice."""
    people = [f"p{number}@example.org" for number in range(25)]
    settings.REMINDERS = {"EMAIL_TO": people, "DELIVERIES_PER_REMINDER": 3}
    smtp_server.to_addresses = {people[-1]: ["450 later"]}
    reminder.set_reminder("tea", alarm_clock.now(), channels=["email"])
    assert (outcomes(alarm_clock), outcomes(alarm_clock, timedelta(seconds=2))) == (["failed"], ["succeeded"])
    assert smtp_server.to == people


def test_a_mail_is_tried_again_under_its_message_id(
    reminder: Reminder, alarm_clock: FakeClock, smtp_server: SmtpServer, settings: Any, sent: Sent
) -> None:
    """A server that is busy gets it again with the same Message-ID; the other channel is not bothered again."""
    settings.REMINDERS = {"EMAIL_TO": ["all@example.org"]}
    smtp_server.answers = ["451 come back later"]
    reminder.set_reminder("tea", alarm_clock.now(), channels=["email", "log"])
    assert (outcomes(alarm_clock), outcomes(alarm_clock, timedelta(seconds=2))) == (["failed"], ["succeeded"])
    assert (len(smtp_server.mails), len({mail["Message-ID"] for mail in smtp_server.mails}), len(sent)) == (2, 1, 1)
    assert dict(Delivery.objects.values_list("channel", "attempts")) == {"email": 2, "log": 1}


@pytest.mark.parametrize("answer", ["200 taken", "252 taken, as it seems"])
def test_any_2xx_to_its_content_has_taken_a_mail(
    reminder: Reminder, alarm_clock: FakeClock, smtp_server: SmtpServer, settings: Any, answer: str
) -> None:
    """A server that takes a mail with another 2xx than 250 has it, and gets no second one."""
    settings.REMINDERS = {"EMAIL_TO": ["all@example.org"]}
    smtp_server.answers = [answer]
    reminder.set_reminder("tea", alarm_clock.now(), channels=["email"])
    assert outcomes(alarm_clock) == ["succeeded"]
    assert Delivery.objects.get().status == "delivered"
    assert len(smtp_server.mails) == 1


def test_an_address_that_is_not_is_refused_for_good(
    reminder: Reminder, alarm_clock: FakeClock, smtp_server: SmtpServer
) -> None:
    """A mailbox that the server has not, or no address at all, is on record as refused and not tried again."""
    smtp_server.to_addresses = {"gone@example.org": ["550 no such user"]}
    Recipient.objects.create(name="ada", email="gone@example.org")
    reminder.set_reminder("tea", alarm_clock.now(), channels=["email"], person="ada")
    assert outcomes(alarm_clock) == ["succeeded"]
    reminder.set_reminder("tea", alarm_clock.now(), channels=["email"], person="bob")
    assert outcomes(alarm_clock) == ["succeeded"]
    gone, nobody = Delivery.objects.order_by("id")
    assert (gone.status, "no such user" in gone.error, gone.attempts) == ("refused", True, 1)
    assert (nobody.status, "no e-mail address for person 'bob'" in nobody.error) == ("refused", True)


def test_a_webhook_is_signed(reminder: Reminder, alarm_clock: FakeClock, upstream: Upstream, settings: Any) -> None:
    """The receiver's own check lets it pass; each try is signed again under one key, and the answer is on record."""
    settings.REMINDERS = {"WEBHOOK_URL": upstream.url, "WEBHOOK_SECRET": SECRET}
    upstream.script(503, Answer(200, body=b"thanks"))
    reminder.set_reminder("tea\N{HOT BEVERAGE}", alarm_clock.now(), channels=["webhook"])
    assert (outcomes(alarm_clock), outcomes(alarm_clock, timedelta(seconds=2))) == (["failed"], ["succeeded"])
    delivery = Delivery.objects.get()
    keys = [verify(SECRET, request.headers, request.body) for request in upstream.received]
    assert keys == [str(delivery.key)] * 2
    assert upstream.received[0].json["data"]["message"] == "tea\N{HOT BEVERAGE}"
    assert (delivery.status, delivery.answer) == ("delivered", "200 thanks")


def test_a_recipients_own_webhook(reminder: Reminder, alarm_clock: FakeClock, upstream: Upstream) -> None:
    """An address and a secret of the recipient's own; an answer that says no is final."""
    Recipient.objects.create(name="ada", webhook_url=upstream.url, webhook_secret=SECRET)
    upstream.script(410)
    reminder.set_reminder("tea", alarm_clock.now(), channels=["webhook"], person="ada")
    assert outcomes(alarm_clock) == ["succeeded"]
    reminder.set_reminder("tea", alarm_clock.now(), channels=["webhook"])
    assert outcomes(alarm_clock) == ["succeeded"]
    assert [row.status for row in Delivery.objects.order_by("id")] == ["refused", "refused"]
    assert "enter both under Recipients" in Delivery.objects.order_by("id")[1].error


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the modules that Apprise loads
def test_apprise_by_a_name_from_the_settings(
    reminder: Reminder, alarm_clock: FakeClock, upstream: Upstream, settings: Any
) -> None:
    """A channel "apprise:NAME" for each URL that staff configured; one that nobody configured is no channel."""
    settings.REMINDERS = {"APPRISE": {"phones": upstream.url.replace("http:", "json:")}}
    upstream.script(500)
    reminder.set_reminder("tea", alarm_clock.now(), channels=["apprise:phones"])
    assert (outcomes(alarm_clock), outcomes(alarm_clock, timedelta(seconds=2))) == (["failed"], ["succeeded"])
    assert [request.json["message"] for request in upstream.received] == ["tea", "tea"]
    assert "apprise:phones" in Delivery.objects.get().channel
    with pytest.raises(ValueError, match="Allowed: a list of one or more of apprise:phones, email, log, webhook"):
        reminder.set_reminder("tea", alarm_clock.now(), channels=["apprise:json://elsewhere"])


def test_a_channel_that_is_gone_is_tried_again(reminder: Reminder, alarm_clock: FakeClock, settings: Any) -> None:
    """A name that was taken out of the settings fails with a word on what there is, and can come back."""
    settings.REMINDERS = {"APPRISE": {"phones": "json://127.0.0.1:1"}}
    reminder.set_reminder("tea", alarm_clock.now(), channels=["apprise:phones"])
    settings.REMINDERS = {}
    assert outcomes(alarm_clock) == ["failed"]
    assert "no channel 'apprise:phones' is registered here; known: email, log, webhook" in Delivery.objects.get().error


def test_what_check_says_of_settings(settings: Any) -> None:
    """Links without pages, and a webhook without a secret that is one, are reported before a reminder is due."""
    settings.ROOT_URLCONF = "django.contrib.auth.urls"
    settings.REMINDERS = {
        "PUBLIC_URL": "https://example.org",
        "WEBHOOK_URL": "https://example.net",
        "WEBHOOK_SECRET": "",
    }
    assert [each.id for each in check_settings(None)] == ["reminders.E001", "reminders.E002"]
    settings.REMINDERS = {"PUBLIC_URL": "https://xn--/"}
    assert [each.id for each in check_settings(None)] == ["reminders.E001", "reminders.E007"]
    settings.ROOT_URLCONF = "project.urls"
    settings.REMINDERS = {
        "PUBLIC_URL": "https://example.org", "WEBHOOK_URL": "https://example.net", "WEBHOOK_SECRET": SECRET
    }  # fmt: skip
    assert check_settings(None) == []


@pytest.mark.parametrize(
    ("to", "wrong"),
    [
        (["ada@example.org", "bob", 7, ""], '"bob", 7, ""'),
        (["a@" + "x" * 320 + ".org"], '"a@xxxx'),
        (["Ada <ada@example.org>", "bob@example.org"], None),
    ],
)
def test_what_check_says_of_addresses(settings: Any, to: Any, wrong: str | None) -> None:
    """What is no e-mail address is reported before a reminder is due."""
    settings.REMINDERS = {"EMAIL_TO": to}
    found = check_settings(None)
    assert [each.id for each in found] == (["reminders.E003"] if wrong else [])
    assert wrong is None or wrong in found[0].msg
