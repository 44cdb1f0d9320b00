"""A project of others' making, with nothing special about it: what holds there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.consumer.foreign import Foreign

pytestmark = pytest.mark.slow


def test_a_plain_project_works(on_each: Callable[..., Foreign]) -> None:
    """Objects of each form keep their state and run their alarms; checks and migrations are clean."""
    project = on_each()
    assert project.run("""
from durable_objects.testing import FakeClock, run_due_alarms
with FakeClock() as clock:
    Cart.objects.get_by_name("ada").add("tea")
    Timer.objects.get_by_name("t").storage.set_alarm(timedelta(minutes=1))
    clock.advance(timedelta(minutes=30))
    runs = [run.outcome for run in run_due_alarms()]
answer([
    Account.objects.get_by_name("ada").deposit(3), runs, Cart.objects.get_by_name("ada").storage.list(),
    [order.name for order in Order.objects.all()],
])
""") == [3, ["succeeded", "succeeded"], {}, ["t ran"]]
    assert "no issues" in project.manage("check", "--database", "default").well().out
    assert "No changes" in project.manage("makemigrations", "--check", "--dry-run").well().out


ATOMIC = """
import os
from celery import Celery, Task
from django.db import transaction
class Atomic(Task):
    def __call__(self, *args, **kwargs):
        with transaction.atomic():
            return super().__call__(*args, **kwargs)
app = Celery("mysite", task_cls=Atomic)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""


def test_task_class_that_opens_a_transaction(foreign: Callable[..., Foreign]) -> None:
    """A ``task_cls`` with ``atomic`` around every task would undo each failure's count: no alarm runs, in words."""
    project = foreign().write("mysite/celery.py", ATOMIC)
    state, said, ran, retries = project.run("""
from durable_objects.models import Alarm
from durable_objects.tasks import fire_alarm
ran = []
def fail(self, info):
    ran.append(1)
    raise ValueError
Timer.alarm = fail
Timer.objects.get_by_name("t").storage.set_alarm(timedelta(0))
done = fire_alarm.apply(args=(Alarm.objects.get().pk,))
answer([done.state, str(done.result), len(ran), Alarm.objects.get().retry_count])
""")
    assert (state, ran, retries) == ("FAILURE", 0, 0)
    assert "task_cls" in said
