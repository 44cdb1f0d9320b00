"""How fast an operation is on 98,000 dead alarms of one group of errors, between many others."""

from __future__ import annotations

import time

import pytest
from django.contrib.auth.models import User

from durable_objects.alarms.error_groups import fingerprint
from durable_objects.operations import bulk, bulk_chunks
from durable_objects.tables import Alarm
from tests.models import Grouped, Scripted
from tests.support.many_alarms import ERROR, dead_alarms

pytestmark = [pytest.mark.bench, pytest.mark.django_db(transaction=True)]

NUMBER = 98_000


def test_98_000_of_one_error_group_are_revived() -> None:
    """All of them are revived, each with an entry in the log, in minutes; what it took is printed."""
    dead_alarms(Grouped, 10_000)
    dead_alarms(Scripted, NUMBER)
    user = User.objects.create_superuser("ada")
    selection = f"class:tests.Scripted state:dead error:{fingerprint(ERROR)}"
    begun = time.monotonic()
    operation = bulk.start("revive", selection, by="ada", user=str(user.pk))
    counted = time.monotonic() - begun
    while operation.state == bulk.RUNNING:
        bulk_chunks.drive(operation.pk, operation.fence)
        operation = bulk.get(operation.pk)
    took = time.monotonic() - begun
    print(f"counted in {counted * 1000:.0f} ms, {NUMBER:,} revived in {took:.1f} s: {NUMBER / took:,.0f} a second")
    assert (operation.total, operation.done, operation.failed) == (NUMBER, NUMBER, 0)
    assert Alarm.objects.filter(state="armed").count() == NUMBER
