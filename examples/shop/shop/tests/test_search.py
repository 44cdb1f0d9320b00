"""Debounce with a ceiling."""

from datetime import timedelta

import pytest

from durable_objects.testing import FakeClock, run_due_alarms
from shop.models import Product, SearchDocument

pytestmark = pytest.mark.django_db


def test_a_burst_of_changes_makes_one_document(alarm_clock: FakeClock) -> None:
    """Ten changes a second apart: one run, ten seconds after the last, with what the last one left."""
    product = Product.objects.create(name="Tea")
    for number in range(10):
        alarm_clock.advance(timedelta(seconds=1))
        product.description = f"edition {number}"
        product.save()
    alarm_clock.advance(timedelta(seconds=9))
    run_due_alarms(raise_errors=True)
    assert not SearchDocument.objects.exists()
    alarm_clock.advance(timedelta(seconds=1))
    run_due_alarms(raise_errors=True)
    assert SearchDocument.objects.get().words == "9 edition tea"


def test_a_burst_without_an_end_waits_for_two_minutes(alarm_clock: FakeClock) -> None:
    """A change each five seconds never leaves ten quiet ones: the ceiling makes the document all the same."""
    product = Product.objects.create(name="Tea")
    runs = 0
    for _ in range(25):
        alarm_clock.advance(timedelta(seconds=5))
        runs += sum(run.object.name == str(product.pk) for run in run_due_alarms())
        product.save()
    assert runs == 1


def test_a_product_that_is_gone_has_no_document(alarm_clock: FakeClock) -> None:
    """Deleted before its time: the run finds nothing to do."""
    Product.objects.create(name="Tea").delete()
    alarm_clock.advance(timedelta(minutes=2))
    run_due_alarms(raise_errors=True)
    assert not SearchDocument.objects.exists()
