"""A plan after an outage does what it says also when people and schedules come between."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command

from durable_objects import now
from durable_objects.alarms import predicates
from durable_objects.operations import bulk, bulk_chunks, outage, pauses
from durable_objects.tables import Alarm, Object, Operation
from durable_objects.testing import FakeClock
from tests.models import Grouped, Script, Scripted
from tests.support.many_alarms import late_alarms

pytestmark = pytest.mark.django_db(transaction=True)

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def late(script: Script) -> list[str]:
    """Three of Scripted, late by two hours."""
    return late_alarms(Scripted, 3, 2 * HOUR)


def plan(**given: Any) -> list[Operation]:
    """The operations of a plan for Scripted."""
    kind = ContentType.objects.get_for_id(Scripted.kind_pk())
    return outage.drain([kind], 1_000, by="ada", reason="the bank was down", **given)


def drive(operation: Operation) -> Operation:
    """The operation after a worker has had it."""
    at = bulk.get(operation.pk)
    bulk_chunks.drive(at.pk, at.fence, seconds=60)
    return bulk.get(operation.pk)


def test_no_operation_overtakes_the_one_before_it(late: list[str]) -> None:
    """One that was stopped while it waited, and is gone on with, waits again: what is too old is cancelled before the
    rest is spread, and the class stays paused until then.
    """
    cancel, spread = plan(skip=HOUR)
    assert bulk.stop(spread)
    assert bulk.go_on(spread, by="bob")
    assert (drive(spread).state, bulk.get(spread.pk).by) == ("waiting", "bob")
    assert pauses.in_force().kinds == {Scripted.kind_pk()}
    assert bulk.stop(spread)
    out = io.StringIO()
    call_command("operations", "resume", str(spread.pk), stdout=out)
    assert f"operation {spread.pk} goes on once operation {cancel.pk}, which comes before it, is done" in out.getvalue()
    assert (drive(cancel).done, drive(spread).state) == (3, "done")
    assert not pauses.in_force().is_any


def test_one_that_was_stopped_meanwhile_goes_on_at_once(late: list[str]) -> None:
    """Gone on with after the one before it is done, it runs."""
    mark, spread = plan(mark=HOUR)
    bulk.stop(spread)
    assert drive(mark).state == "done"
    assert bulk.go_on(spread)
    assert drive(spread).done == 3


def test_a_pause_of_somebody_else_outlives_the_plan(late: list[str]) -> None:
    """A class that somebody pauses while the plan is under way stays paused at its end."""
    (spread,) = plan()
    pauses.pause(Scripted, reason="the bank is down again", by="bob")
    assert drive(spread).state == "done"
    assert pauses.in_force().kinds == {Scripted.kind_pk()}


def test_what_is_paused_by_itself_is_left_alone(late: list[str]) -> None:
    """An alarm whose object somebody has paused is neither counted nor cancelled."""
    kept = Scripted.objects.get_by_name(late[0])
    pauses.pause(kept, reason="a dispute", by="bob")
    at = kept.storage.get_alarm()
    cancel, _ = plan(skip=HOUR)
    assert cancel.total == 2
    assert drive(cancel).done == 2
    assert kept.storage.get_alarm() == at


def test_a_run_in_progress_is_not_cancelled(late: list[str]) -> None:
    """An alarm that runs, outside of the lock, is not late, however old its time is."""
    row = Object.objects.get(name=late[0])
    Alarm.objects.filter(pk=row.pk).update(leased_until=now() + HOUR)
    cancel, _ = plan(skip=HOUR)
    assert (cancel.total, drive(cancel).done) == (2, 2)
    assert Alarm.objects.get(pk=row.pk).state == "armed"


def test_a_worker_that_dies_at_the_end_has_not_ended_it(late: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation is done together with what follows it: else nobody would ever begin the next one."""
    mark, spread = plan(mark=HOUR)

    def die(*given: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bulk, "follow", die)
        with pytest.raises(KeyboardInterrupt):
            drive(mark)
    assert bulk.get(mark.pk).state == "running"
    assert drive(mark).state == "done"
    assert drive(spread).state == "done"


@pytest.fixture
def stopped(script: Script, alarm_clock: FakeClock) -> Operation:
    """A plan for 300 of Scripted, 10 a second, that was stopped for an hour: that which is to spread them."""
    late_alarms(Scripted, 300, 2 * HOUR)
    (spread,) = outage.drain([ContentType.objects.get_for_id(Scripted.kind_pk())], 10, by="ada")
    bulk.stop(spread)
    alarm_clock.advance(HOUR)
    bulk.go_on(spread, by="bob")
    return spread


def test_a_plan_that_took_longer_keeps_its_rate(stopped: Operation) -> None:
    """Where the times that a plan has given have passed before its end, it spreads once more before it resumes: else
    all of it would run at once.
    """
    assert drive(stopped).done == 300
    again = Operation.objects.latest("pk")
    assert (again.plan_id, again.state, again.by, again.total) == (stopped.pk, "running", "bob", 300)
    assert pauses.in_force().kinds == {Scripted.kind_pk()}
    assert drive(again).done == 300
    assert not pauses.in_force().is_any
    ahead = Alarm.objects.filter(due_at__gt=now(), due_at__lte=now() + timedelta(seconds=32))
    assert ahead.count() == 300
    assert 50 < ahead.filter(due_at__lte=now() + timedelta(seconds=11)).count() < 150
    assert Operation.objects.count() == 2


def test_a_pause_of_somebody_else_outlives_a_plan_that_took_longer(stopped: Operation) -> None:
    """Also where it was made before the plan has spread once more."""
    pauses.pause(Scripted, reason="the bank is down again", by="bob")
    drive(stopped)
    assert drive(Operation.objects.latest("pk")).state == "done"
    assert pauses.in_force().kinds == {Scripted.kind_pk()}


@pytest.fixture
def scheduled(script: Script, alarm_clock: FakeClock) -> Scripted:
    """An object whose schedule is late by two hours, with an alarm for the day after tomorrow; and one without."""
    both, only = map(Scripted.objects.get_by_name, ("both", "only"))
    both.storage.set_alarm(3 * DAY)
    for obj in (both, only):
        obj.schedules.set("daily", "scheduled", every=DAY)
    alarm_clock.advance(DAY + 2 * HOUR)
    return both


def test_a_late_schedule_makes_no_alarm_late(scheduled: Scripted) -> None:
    """Where a schedule is late, a plan counts and cancels no alarm of its object that is not late itself."""
    assert outage.pile(now()) == []
    late_alarms(Scripted, 3, 2 * HOUR)
    at = scheduled.storage.get_alarm()
    assert [each.number for each in outage.pile(now())] == [3]
    cancel, spread = plan(skip=HOUR)
    assert (cancel.total, drive(cancel).done) == (3, 3)
    assert (drive(spread).done, scheduled.storage.get_alarm()) == (0, at)


@pytest.mark.parametrize("where", ["state:overdue", "state:due", "late>5m", "due<1h"])
def test_what_is_done_to_late_alarms_is_not_done_for_a_late_schedule(scheduled: Scripted, where: str) -> None:
    """An alarm is not run, cancelled or moved because a schedule of its object is late, and none is set."""
    at = scheduled.storage.get_alarm()
    for verb, given in (("run", {}), ("move", {"by": "1h"}), ("spread", {"over": "1h"}), ("cancel", {})):
        operation = bulk.start(verb, where, by="ada", arguments=given)
        assert (operation.total, drive(operation).done) == (0, 0), verb
    assert scheduled.storage.get_alarm() == at
    assert Scripted.objects.get_by_name("only").storage.get_alarm() is None


def test_what_an_alarm_is_itself(scheduled: Scripted) -> None:
    """A condition on alarms in which an alarm that is due with its schedule counts, and a late schedule does not."""
    late_alarms(Grouped, 2, HOUR)
    due = predicates.due(now())
    assert Alarm.objects.filter(due).count() == 4
    assert Alarm.objects.filter(predicates.of_itself(due)).count() == 2
    assert Alarm.objects.filter(predicates.of_itself(~due)).count() == 2
