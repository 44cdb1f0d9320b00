"""The trial that expires."""

from datetime import timedelta

import pytest
from django.db import IntegrityError

from durable_objects.testing import FakeClock, run_due_alarms
from shop.models import Customer, Trial, TrialOver

pytestmark = pytest.mark.django_db


@pytest.fixture
def customer() -> Customer:
    """Return a customer who has just signed up."""
    return Customer.sign_up("ada@example.com")


def plan_after(clock: FakeClock, customer: Customer, days: int) -> str:
    """Return the customer's plan when this many days have passed."""
    clock.advance(timedelta(days=days))
    run_due_alarms()
    customer.refresh_from_db()
    return customer.plan


def test_a_trial_ends_after_two_weeks(alarm_clock: FakeClock, customer: Customer) -> None:
    """On the fourteenth day, not before it; then it cannot be extended."""
    assert plan_after(alarm_clock, customer, 13) == "trial"
    assert plan_after(alarm_clock, customer, 1) == "free"
    with pytest.raises(TrialOver):
        Trial.of(customer).extend(timedelta(days=7))


def test_a_trial_that_is_extended_ends_later(alarm_clock: FakeClock, customer: Customer) -> None:
    """The alarm is moved: the earlier time passes, and nothing happens."""
    Trial.of(customer).extend(timedelta(days=7))
    assert plan_after(alarm_clock, customer, 20) == "trial"
    assert plan_after(alarm_clock, customer, 1) == "free"


def test_who_upgrades_stays(alarm_clock: FakeClock, customer: Customer) -> None:
    """The alarm is cancelled with the change of plan."""
    Trial.of(customer).upgrade()
    assert plan_after(alarm_clock, customer, 30) == "paid"
    assert run_due_alarms() == []


@pytest.mark.django_db(transaction=True)
def test_a_sign_up_that_fails_starts_no_trial(customer: Customer) -> None:
    """Customer and trial are one transaction: the second sign-up under an address leaves neither."""
    with pytest.raises(IntegrityError):
        Customer.sign_up("ada@example.com")
    assert Trial.objects.count() == 1
