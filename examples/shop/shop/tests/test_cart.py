"""The abandoned cart."""

from datetime import timedelta
from unittest import mock

import pytest
from django.core import mail
from django.core.mail import EmailMessage

from durable_objects.testing import FakeClock, run_due_alarms
from shop.models import Cart

pytestmark = pytest.mark.django_db


@pytest.fixture
def cart() -> Cart:
    """Return the cart of Ada, with a tea in it."""
    cart = Cart.objects.get_by_name("ada@example.com")
    cart.add("tea")
    return cart


def test_an_abandoned_cart_sends_one_mail(alarm_clock: FakeClock, cart: Cart) -> None:
    """Half an hour after the last change a mail goes out, and none after later changes."""
    alarm_clock.advance(timedelta(minutes=20))
    cart.add("tea")
    alarm_clock.advance(timedelta(minutes=20))
    run_due_alarms(raise_errors=True)
    assert mail.outbox == []
    alarm_clock.advance(timedelta(minutes=10))
    run_due_alarms(raise_errors=True)
    assert [(message.to, message.body) for message in mail.outbox] == [
        (["ada@example.com"], "You left behind:\n2 x tea")
    ]
    cart.add("tea")
    assert cart.storage.get_alarm() is None


def test_a_cart_that_is_checked_out_sends_none(alarm_clock: FakeClock, cart: Cart) -> None:
    """Checking out takes the alarm along; the next cart is as new."""
    assert cart.check_out() == {"tea": 1}
    assert cart.storage.get_alarm() is None
    cart.add("pot")
    alarm_clock.advance(timedelta(minutes=30))
    run_due_alarms()
    assert len(mail.outbox) == 1


def test_a_mail_that_fails_is_tried_again_under_the_same_id(alarm_clock: FakeClock, cart: Cart) -> None:
    """The mail server is away at the first try; at the second the message has the same Message-ID."""
    ids: list[str] = []

    def send(message: EmailMessage) -> None:
        ids.append(message.extra_headers["Message-ID"])
        if len(ids) == 1:
            raise ConnectionError("the mail server is away")

    with mock.patch.object(EmailMessage, "send", send):
        alarm_clock.advance(timedelta(minutes=30))
        run_due_alarms()
        alarm_clock.advance(timedelta(seconds=2))
        run_due_alarms(raise_errors=True)
    assert len(ids) == 2
    assert ids[0] == ids[1]
