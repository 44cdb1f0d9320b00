"""After an outage each time of a schedule is run or skipped as its policy says, none lost, none twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from durable_objects.operations import actions, pauses
from durable_objects.tables import AlarmRun, Object, Pause, Schedule
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Script, Scripted
from tests.support.examples import examples

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def ran(script: Script) -> list[int]:
    """The hours of the times that were run, on the day of the test's clock."""
    return [info.scheduled_at.hour for info, _, _ in script.calls if info is not None]


def skipped() -> list[str]:
    """What the history says of skipped times."""
    return list(AlarmRun.objects.filter(outcome="skipped").order_by("pk").values_list("error", flat=True))


@pytest.mark.parametrize(
    ("options", "hours", "skips"),
    [
        ({"misfire": "one"}, [13], [4]),
        ({"misfire": "skip"}, [], [5]),
        ({"misfire": "all"}, [13, 14, 15, 16, 17], []),
        ({"misfire": "one", "grace": HOUR}, [17], [4]),
        ({"misfire": "all", "grace": 2 * HOUR}, [16, 17], [3]),
        ({"misfire": "one", "grace": MINUTE}, [], [5]),
        ({"misfire": "skip", "grace": HOUR}, [17], [4]),
    ],
)
def test_an_outage_of_five_hours(
    obj: Scripted, clock: FakeClock, options: dict[str, Any], hours: list[int], skips: list[int]
) -> None:
    """Hourly from 13:00, down until 17:30: what runs, what is skipped and on record, and what comes next."""
    obj.schedules.set("a", "scheduled", every=HOUR, start=NOON + HOUR, **options)
    clock.move_to(NOON + 5 * HOUR + HOUR / 2)
    run_due_alarms()
    assert ran(Scripted.script) == hours
    assert [number_of(text) for text in skipped()] == skips
    assert Schedule.objects.get().scheduled_at == NOON + 6 * HOUR
    shown = obj.schedules.preview("a", 1, down=(NOON + HOUR / 2, NOON + 5 * HOUR + HOUR / 2))
    assert ([at.hour for at in shown.runs], shown.skipped) == (hours, sum(skips))


def test_a_long_outage_is_caught_up_with_the_newest_hundred(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """``all`` runs the newest 100 of what was missed and skips the older ones, with one row."""
    obj.schedules.set("a", "scheduled", every=HOUR, misfire="all")
    clock.advance(1000 * HOUR)
    assert len(run_due_alarms()) == 100
    assert len(skipped()) == 1
    assert script.calls[-1][0] is not None
    assert script.calls[-1][0].scheduled_at == clock.now()


def test_what_is_missed_while_it_fails_is_one_run_more(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """Times that pass while an occurrence is retried are missed as in an outage; a retry has the first one's time."""
    attempts = iter([True, True, False, False])

    def work(obj: Scripted) -> None:
        if next(attempts):
            raise ZeroDivisionError

    script.scheduled = work
    obj.schedules.set("a", "scheduled", every=MINUTE)
    run_due_alarms()
    clock.advance(3 * MINUTE)
    run_due_alarms()
    clock.advance(3 * MINUTE)
    run_due_alarms()
    assert [info.scheduled_at for info, _, _ in script.calls if info] == [NOON] * 3 + [NOON + MINUTE]
    assert Schedule.objects.get().scheduled_at == NOON + 7 * MINUTE


def test_a_revived_occurrence_runs_however_late_it_is(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """What an operator revives is not skipped, has its old time and key, and the cadence goes on as before."""
    script.scheduled = lambda obj: 1 / 0
    obj.schedules.set("a", "scheduled", every=HOUR, misfire="skip")
    for retry in range(7):
        run_due_alarms()
        clock.advance(timedelta(seconds=2 << retry))
    script.scheduled = lambda obj: None
    clock.move_to(NOON + HOUR / 2)
    before = Schedule.objects.get()
    assert before.died_at == NOON
    assert actions.revive_schedule(Object.objects.get(), "a")
    [run] = run_due_alarms()
    assert (run.scheduled_at, run.outcome) == (NOON, "succeeded")
    assert len({info.key for info, _, _ in script.calls if info}) == 1
    after = Schedule.objects.get()
    assert (after.scheduled_at, after.died_at, after.last_error) == (before.scheduled_at, None, "")
    assert not actions.revive_schedule(Object.objects.get(), "a")


def test_run_now_is_one_run_more(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """What an operator runs now runs once besides its times; what is planned but once runs now instead."""
    obj.schedules.set("a", "scheduled", every=HOUR, start=NOON + HOUR)
    obj.schedules.set("once", "scheduled", at=NOON + 2 * HOUR)
    row = Object.objects.get()
    assert actions.run_schedule_now(row, "a")
    assert actions.run_schedule_now(row, "once")
    assert not actions.run_schedule_now(row, "nothing")
    run_due_alarms()
    assert [info.scheduled_at for info, _, _ in script.calls if info] == [NOON, NOON + 2 * HOUR]
    assert [each.name for each in obj.schedules.list()] == ["a"]
    assert Schedule.objects.get().scheduled_at == NOON + HOUR


STEPS = st.lists(
    st.tuples(st.just("advance"), st.integers(1, 400))
    | st.tuples(st.just("set"), st.sampled_from([7, 30, 60, 90]))
    | st.tuples(st.sampled_from(["again", "cancel", "pause", "resume"]), st.just(0)),
    min_size=1,
    max_size=16,
)


class Era:
    """A rule while it stands and may run: every so many minutes of the epoch, by plain counting."""

    def __init__(self, every: int, since: int) -> None:
        self.every, self.since, self.until = every, since, since - 1

    def times(self) -> list[int]:
        """The minutes that are the rule's."""
        return [minute for minute in range(self.since, self.until + 1) if minute % self.every == 0]


def minute_of(at: datetime) -> int:
    """The minute of the epoch."""
    return int(at.timestamp() // 60)


class Walk:
    """The steps taken on one schedule, and the rules that stood."""

    def __init__(self, obj: Scripted, clock: FakeClock, paused: pauses.What, options: dict[str, Any]) -> None:
        self.obj, self.clock, self.paused, self.options = obj, clock, paused, options
        self.eras: list[Era] = []
        self.stands = False

    def take(self, step: str, amount: int) -> None:
        """Take one step, and let run what is due: while the object is paused that is nothing."""
        if step == "advance":
            self.clock.advance(amount * MINUTE)
        elif step == "pause":
            pauses.pause(self.paused)
        elif step == "resume":
            pauses.resume(self.paused)
        elif step == "cancel":
            assert self.obj.schedules.cancel("a") is self.stands
            self.stands = False
        elif step == "set" or self.stands:
            self._set(amount or self.eras[-1].every)
        run_due_alarms()
        if self.stands and not Pause.objects.exists():
            self.eras[-1].until = minute_of(self.clock.now())

    def _set(self, every: int) -> None:
        self.obj.schedules.set("a", "scheduled", every=every * MINUTE, **self.options)
        if not self.stands or every != self.eras[-1].every:
            self.eras.append(Era(every, minute_of(self.clock.now())))
        self.stands = True


@given(
    steps=STEPS,
    policy=st.sampled_from(["one", "skip", "all"]),
    grace=st.sampled_from([None, 20 * MINUTE]),
    scope=st.sampled_from(["everything", "class", "object"]),
)
@settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
def test_each_time_is_run_or_skipped_once(
    script: Script, steps: list[tuple[str, int]], policy: str, grace: timedelta | None, scope: str
) -> None:
    """Over any sequence of setting, replacing, cancelling, pauses and outages, each time of a rule while it stood is
    run once or skipped once, and no other is; but what waited for a pause is gone with a rule cancelled or replaced.
    """
    AlarmRun.objects.all().delete()
    Object.objects.all().delete()
    with FakeClock(NOON) as clock:
        obj = Scripted.objects.create(name="model")
        paused = {"everything": None, "class": Scripted, "object": obj}[scope]
        walk = Walk(obj, clock, paused, {"misfire": policy, "grace": grace})
        for step, amount in [*steps, ("resume", 0)]:
            walk.take(step, amount)
    rows = AlarmRun.objects.filter(outcome="succeeded").values_list("set_number", "scheduled_at")
    run = [(number, minute_of(at)) for number, at in rows]
    due = [minute for era in walk.eras for minute in era.times()]
    assert len(run) == len({*run})
    assert {minute for _, minute in run} <= {*due}
    assert len(run) + sum(number_of(text) for text in skipped()) == len(due)


def number_of(text: str) -> int:
    """How many times a row of the history says were skipped."""
    return int(text.partition(": ")[2].partition(",")[0])


def test_a_rule_that_cannot_be_read_any_more_holds_up_nothing(
    obj: Scripted, clock: FakeClock, script: Script, admin_client: Client
) -> None:
    """A schedule whose zone is gone is dead with that error, others run; revived once the zone is back, it goes on."""
    obj.schedules.set("a", "scheduled", cron="0 * * * *", zone="Europe/Berlin")
    obj.schedules.set("b", "scheduled", every=HOUR)
    known = Schedule.objects.get(name="a").rule
    Schedule.objects.filter(name="a").update(rule=known.replace("Berlin", "Atlantis"))
    assert [(run.schedule, run.outcome) for run in run_due_alarms()] == [("a", "dead"), ("b", "succeeded")]
    row = Schedule.objects.get(name="a")
    assert (row.state, row.died_at) == ("dead", NOON)
    assert "Atlantis" in row.last_error
    page = admin_client.get(reverse("admin:durable_objects_schedule_change", args=[row.pk]))
    assert page.status_code == 200
    Schedule.objects.filter(name="a").update(rule=known)
    assert actions.revive_schedule(Object.objects.get(), "a")
    assert [run.schedule for run in run_due_alarms()] == ["a"]
    assert Schedule.objects.get(name="a").scheduled_at == NOON + HOUR


def test_run_now_is_run_however_late_the_worker_is(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """What an operator asked for is not skipped by the misfire policy."""
    obj.schedules.set("a", "scheduled", every=HOUR, start=NOON + HOUR, misfire="skip")
    assert actions.run_schedule_now(Object.objects.get(), "a")
    clock.advance(10 * MINUTE)
    assert [run.outcome for run in run_due_alarms()] == ["succeeded"]
    assert skipped() == []
