"""What an operator finds on the site of tests/browser/test_tasks.py: something late, dead, failed, or to be changed."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client

import durable_objects
from batcher.models import Batcher
from cleaner.models import PeriodicCleaner
from durable_objects.http.models import ApiToken
from reminders.models import Reminder
from tests.models import Counter, Grouped, Impatient, Scripted
from tests.support.many_alarms import dead_alarms, late_alarms

#: As many died of the error that is revived, and as many of another one.
GATEWAY, DECLINED = 2_000, 500


def fill(upstream_url: str) -> dict[str, str]:
    """Make all that the tasks are about; return the ``session`` of ada, who does them, and a ``token`` to be revoked.
    ``upstream_url`` refuses the first batch.
    """
    late_alarms(Scripted, 1, timedelta(minutes=3), prefix="export-", held=True)
    dead_alarms(Grouped, GATEWAY, prefix="lost-", error="ConnectionError: the gateway is gone")
    dead_alarms(Grouped, DECLINED, prefix="declined-", error="CardError: declined")
    dead_alarms(Impatient, 3, prefix="revived-")
    dead_alarms(Counter, 3, prefix="listed-")
    late_alarms(Counter, 300, timedelta(minutes=-40), prefix="peak-")
    with transaction.atomic():
        for number in range(30):
            Scripted.objects.get_by_name(f"cart-{number:02}").storage.put("customer", f"c{number}@example.org")
    for name, days in (("cart-08", 2), ("cart-09", 3), ("cart-10", 4)):
        Scripted.objects.get_by_name(name).storage.set_alarm(timedelta(days=days))
    Scripted.objects.get_by_name("cart-07").storage.put("limit", 20)
    batcher = Batcher.objects.get_by_name("orders")
    batcher.configure(upstream_url=upstream_url, window=timedelta(0))
    batcher.add_items([{"sku": "tea"}, {"sku": "milk"}])
    cleaner = PeriodicCleaner.objects.get_by_name("uploads")
    cleaner.storage.put_many({f"upload-{number:02}": {"timestamp": 0} for number in range(20)})
    Reminder.objects.get_by_name("backup").set_reminder(
        "Change the tape", durable_objects.now() + timedelta(days=2), recurrence="FREQ=DAILY"
    )
    token = ApiToken(name="the press", scopes=["batcher:read"])
    client = Client()
    client.force_login(User.objects.create_superuser("ada"))
    return {"session": client.cookies["sessionid"].value, "token": token.issue()}
