"""A project of others' making, with nothing special about it: what holds there."""

from __future__ import annotations

from collections.abc import Callable

from tests.consumer.foreign import Foreign


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
