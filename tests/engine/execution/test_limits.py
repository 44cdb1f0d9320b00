"""Limits of a class: never more runs at a time, never more starts in a second, nothing forgotten, nothing flooded."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import connection, transaction
from django.db.models import F
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from durable_objects import AlarmInfo, class_attributes, doctor, health
from durable_objects.alarms import limits
from durable_objects.conf import engine
from durable_objects.database import clock as engine_clock
from durable_objects.execution import firing
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.operations import metrics, pauses
from durable_objects.operations.explain import explain
from durable_objects.tables import Alarm, AlarmRun, ClassLimit, Object
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at, run_due_alarms
from tests.models import Counter, Grouped, Script, Scripted
from tests.support.examples import examples
from tests.support.limited_alarms import Limiting, due, pk_of, slot
from tests.support.threads import InThread, await_event, run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)

NOW = timedelta(0)
on_postgresql = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one lock for all")


class Held:
    """Runs that are held in their handlers, with the lock or without it, until ``leave``."""

    def __init__(self, script: Script, *, locked: bool) -> None:
        self.leave = threading.Event()
        self.inside: dict[str, threading.Event] = {}
        self.locked = locked
        script.alarm = self.alarm

    def alarm(self, obj: Any, info: AlarmInfo) -> None:
        if self.locked:
            self.inside.setdefault(obj.name, threading.Event()).set()
            await_event(self.leave)
            return
        with obj.unlocked():
            self.inside.setdefault(obj.name, threading.Event()).set()
            await_event(self.leave)

    def start(self, *names: str) -> list[InThread[Any]]:
        """Fire the alarms of these objects, each in a thread, and wait until all are in their handlers."""
        for name in names:
            self.inside[name] = threading.Event()
        running = [InThread(partial(fire, pk_of(name))) for name in names]
        for name in names:
            await_event(self.inside[name])
        return running


@pytest.mark.parametrize("locked", [False, pytest.param(True, marks=on_postgresql)], ids=["unlocked", "locked"])
def test_no_more_run_at_a_time(limit: Limiting, script: Script, locked: bool, published: list[Any]) -> None:
    """The run that would be one too many does not start, uncounted, and stays unsent; when one ends, it is sent."""
    limit(concurrency=2)
    held = Held(script, locked=locked)
    due("a", "b", "c")
    running = held.start("a", "b")
    published.clear()
    assert fire(pk_of("c")).verdict is Verdict.DROPPED
    assert (slot("c").wake_up_for, slot("c").retry_count, slot("c").crashed_starts) == (None, 0, 0)
    assert published == []
    held.leave.set()
    assert [run.result().verdict for run in running] == [Verdict.SUCCEEDED] * 2
    assert [one.object_id for one in published] == [pk_of("c")], "by the run that ended first, and once"
    (wake_up,) = published
    assert fire(wake_up.object_id, wake_up.wake_up_number).verdict is Verdict.SUCCEEDED


@on_postgresql
def test_those_that_come_at_one_moment_are_counted_one_by_one(limit: Limiting, script: Script) -> None:
    """Workers that ask for a place at the same time do not count each other out: one gets the last place."""
    limit(concurrency=1)
    names = "abcdefgh"
    due(*names)
    inside: list[str] = []
    most: list[int] = []

    def alarm(obj: Any, info: AlarmInfo) -> None:
        inside.append(obj.name)
        most.append(len(inside))
        time.sleep(0.05)
        inside.remove(obj.name)

    script.alarm = alarm
    keys = [pk_of(name) for name in names]
    for _ in range(5):
        verdicts = {fired.verdict for fired in run_in_threads(len(keys), lambda number: fire(keys[number]))}
        assert verdicts <= {Verdict.SUCCEEDED, Verdict.DROPPED}
        due(*names)
    assert max(most) == 1


@on_postgresql
def test_a_run_that_keeps_its_lock_for_longer_than_a_lease_keeps_its_place(
    limit: Limiting, script: Script, settings: Any
) -> None:
    """Its lease is over, but its object is locked: it still counts."""
    settings.DURABLE_OBJECTS = {**settings.DURABLE_OBJECTS, "LEASE": timedelta(seconds=0.2)}
    limit(concurrency=1)
    held = Held(script, locked=True)
    due("a", "b")
    (running,) = held.start("a")
    time.sleep(0.3)
    assert slot("a").leased_until < engine_clock.now()  # type: ignore[operator]  # it has one
    assert fire(pk_of("b")).verdict is Verdict.DROPPED
    held.leave.set()
    assert running.result().verdict is Verdict.SUCCEEDED
    assert fire(pk_of("b")).verdict is Verdict.SUCCEEDED


def test_a_place_whose_worker_is_gone_is_free_after_the_lease(
    limit: Limiting, script: Script, clock: FakeClock
) -> None:
    """Until then it counts; then another alarm runs, and the one that was cut off as well, once more."""
    limit(concurrency=1)
    due("a", "b")
    with crash_at("firing.before_handler"), pytest.raises(SimulatedCrash):
        fire(pk_of("a"))
    assert fire(pk_of("b")).verdict is Verdict.DROPPED
    clock.advance(engine.LEASE - timedelta(microseconds=1))
    assert fire(pk_of("b")).verdict is Verdict.DROPPED
    clock.advance(timedelta(microseconds=1))
    assert fire(pk_of("b")).verdict is Verdict.SUCCEEDED
    assert slot("a").crashed_starts == 1
    assert fire(pk_of("a"), rescue=True).verdict is Verdict.SUCCEEDED


def test_a_run_that_was_held_up_past_its_lease_takes_its_place_again(
    limit: Limiting, script: Script, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between lease and handler the process stood still; its place is another's by now: it does not start."""
    limit(concurrency=1)
    held = Held(script, locked=False)
    due("a", "b")
    beside: list[InThread[Any]] = []
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 1:
            clock.advance(engine.LEASE)
            beside.extend(held.start("b"))

    monkeypatch.setattr(firing, "time", Mock(wraps=time, sleep=sleep))  # of this run alone: the watchdog sleeps as well
    fired = fire(pk_of("a"))
    monkeypatch.undo()
    assert fired.verdict is Verdict.DROPPED
    assert "a" not in held.inside
    held.leave.set()
    assert beside[0].result().verdict is Verdict.SUCCEEDED


def test_no_more_start_in_a_second(limit: Limiting, script: Script, clock: FakeClock) -> None:
    """Starts are as far apart as the rate says, also for a fraction; what has to wait is not counted, and not lost."""
    limit(rate=0.5)
    due("a", "b")
    assert [run.object_id for run in run_due_alarms()] == [pk_of("a")]
    clock.advance(timedelta(seconds=2) - timedelta(microseconds=1))
    assert run_due_alarms() == []
    clock.advance(timedelta(microseconds=1))
    assert [run.object_id for run in run_due_alarms()] == [pk_of("b")]
    assert (ClassLimit.objects.get().last_start_at, slot("b").retry_count) == (clock.now(), 0)


def test_a_wake_up_waits_a_moment_for_its_start(limit: Limiting, script: Script) -> None:
    """By the real clock: threads that come together start one after the other, none refused that need wait briefly."""
    limit(rate=20)
    names = [f"o{number}" for number in range(8)]
    due(*names)
    starts: list[float] = []
    script.alarm = lambda obj, info: starts.append(time.monotonic())
    for name in names:
        assert fire(pk_of(name)).verdict is Verdict.SUCCEEDED
    apart = [after - before for before, after in pairwise(starts)]
    assert statistics.median(apart) > 0.025, "50 ms, but for what lies between a place and its handler"
    assert starts[-1] - starts[0] >= 0.3


@on_postgresql
def test_the_wait_for_the_count_is_no_start(limit: Limiting, script: Script) -> None:
    """A run that waits until others have taken their places starts after that wait, and the next after this start."""
    limit(rate=1)
    due("a")
    held, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            ClassLimit.objects.create(kind_id=Scripted.kind_pk())
            held.set()
            await_event(leave)

    beside = InThread(hold)
    await_event(held)
    run = InThread(partial(fire, pk_of("a")))
    time.sleep(0.3)
    released = engine_clock.now()
    leave.set()
    beside.result()
    assert run.result().verdict is Verdict.SUCCEEDED
    last = ClassLimit.objects.get().last_start_at
    assert last is not None
    assert last >= released - timedelta(milliseconds=50)


def test_one_that_comes_a_little_early_is_sent_again_for_its_time(limit: Limiting, script: Script) -> None:
    """A broker that counts whole seconds delivers early: no thread waits for the rest, and the number stays."""
    limit(rate=2)
    due("a", "b")
    assert fire(pk_of("a")).verdict is Verdict.SUCCEEDED
    ClassLimit.objects.update(next_start_at=F("next_start_at") + timedelta(seconds=0.4))
    at = engine_clock.now() + timedelta(seconds=0.9)
    Alarm.objects.filter(object__name="b").update(wake_up_for=at, wake_up_number=7)
    fired = fire(pk_of("b"), 7)
    assert (fired.verdict, fired.elsewhere, fired.wake_up_number) == (Verdict.AGAIN, True, None)
    assert fired.delay is not None
    assert timedelta(seconds=0.5) < fired.delay < timedelta(seconds=0.9)
    assert slot("b").wake_up_for == at


@pytest.mark.parametrize("fails", [False, True])
def test_every_end_frees_the_place(limit: Limiting, script: Script, fails: bool, published: list[Any]) -> None:
    """Success, failure, and an error of the database that puts the run off: nobody holds a place afterwards."""
    limit(concurrency=1)

    def alarm(obj: Any, info: AlarmInfo) -> None:
        if fails:
            raise ValueError("no")

    script.alarm = alarm
    for name in "abc":
        due(name)
        assert fire(pk_of(name)).verdict is (Verdict.FAILED if fails else Verdict.SUCCEEDED)
    assert not Alarm.objects.exclude(leased_until=None).exists()
    assert not Alarm.objects.exclude(crashed_starts=0).exists()


def test_both_limits_hold(limit: Limiting, script: Script, clock: FakeClock) -> None:
    """A class may have both: the one that is reached first holds."""
    limit(concurrency=1, rate=1)
    due("a", "b", "c")
    with crash_at("firing.before_handler"), pytest.raises(SimulatedCrash):
        fire(pk_of("a"))
    clock.advance(timedelta(seconds=5))
    assert fire(pk_of("b")).verdict is Verdict.DROPPED, "full"
    Alarm.objects.update(leased_until=None)
    assert fire(pk_of("b")).verdict is Verdict.SUCCEEDED
    assert fire(pk_of("c")).verdict is Verdict.DROPPED, "too soon"


def test_it_is_not_late_and_explain_says_why(limit: Limiting, script: Script, clock: FakeClock) -> None:
    """What waits for a limit is counted apart, is no trouble, and ``explain`` names the limit; stuck, it is late."""
    limit(concurrency=1)
    due("a", "b", "c")
    with crash_at("firing.before_handler"), pytest.raises(SimulatedCrash):
        fire(pk_of("a"))
    clock.advance(timedelta(seconds=45))
    figures = health.report()
    assert (figures["status"], figures["overdue"]) == ("ok", 0)
    assert metrics.counts(clock.now(), ["due", "overdue", "limited"]) == {"due": 0, "overdue": 0, "limited": 2}
    assert "late" not in {finding.code for finding in doctor.glance(clock.now())}
    found = explain(Object.objects.get(name="b"), clock.now())
    assert found.status.word == "limited"
    assert found.why[0] == "Its class is full: 1 runs, and alarm_concurrency of tests.Scripted is 1."
    assert found.next == ["When a run of the class ends, that which is due for longest is sent."]
    clock.advance(engine.LEASE)
    assert health.report()["status"] == "late"
    assert explain(Object.objects.get(name="b"), clock.now()).status.word == "overdue"


def test_explain_names_the_rate(limit: Limiting, script: Script, clock: FakeClock) -> None:
    """It says when the next run may start; just after that it is still the limit that others wait for."""
    limit(rate=0.1)
    due("a", "b")
    assert fire(pk_of("a")).verdict is Verdict.SUCCEEDED
    found = explain(Object.objects.get(name="b"), clock.now())
    assert found.why[0] == "alarm_rate of tests.Scripted is 0.1 a second: the next run may start in 10s."
    assert found.next[0].startswith("From 2026-05-01 12:00:10.000 UTC on")
    limit(rate=100)
    ClassLimit.objects.update(next_start_at=clock.now())
    assert "it waits for its turn" in explain(Object.objects.get(name="b"), clock.now()).why[0]


def test_a_pause_holds_before_the_limit(limit: Limiting, script: Script, clock: FakeClock) -> None:
    """A paused run takes no place."""
    limit(rate=1)
    due("a")
    pauses.pause(Scripted)
    assert fire(pk_of("a")).verdict is Verdict.DROPPED
    assert not ClassLimit.objects.exists()


def test_classes_without_limits_pay_nothing(obj: Scripted, script: Script) -> None:
    """Their runs take no lease and ask no table of limits."""
    obj.storage.set_alarm(NOW)
    connection.force_debug_cursor = True
    connection.queries_log.clear()
    assert fire(pk_of("a")).verdict is Verdict.SUCCEEDED
    asked = str(connection.queries_log)
    connection.force_debug_cursor = False
    assert ClassLimit._meta.db_table not in asked
    assert AlarmRun.objects.get().fence == 0


def test_a_class_does_not_group_what_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """``alarm_groups`` and a limit exclude each other, and the message says so."""
    monkeypatch.setattr(Grouped, "alarm_rate", 5)
    flaw = "Grouped has alarm_groups and alarm_rate: runs that are counted start alone. Take one of them."
    assert class_attributes.flaw_of(Grouped) == flaw
    assert class_attributes.flaw_of(Counter) is None


@pytest.fixture(autouse=True)
def _rows_of_this_test() -> Iterator[None]:
    """The row of a class is made by its first run."""
    assert not ClassLimit.objects.exists()
    yield
    assert limits.of(Scripted) is None or ClassLimit.objects.count() <= 1


STEPS = st.one_of(
    st.tuples(st.just("fire"), st.sampled_from("abcd")),
    st.tuples(st.just("end"), st.sampled_from("abcd")),
    st.tuples(st.just("wait"), st.sampled_from([1, 100, 250, 1_000, 3_333, 60_000])),
)


class TestAnyOrder(TestCase):
    """Starts, ends, lost workers and time, in any order."""

    @hypothesis_settings(max_examples=examples(60), deadline=None)
    @given(
        concurrency=st.sampled_from([None, 1, 2]),
        rate=st.sampled_from([None, 0.3, 1, 4]),
        steps=st.lists(STEPS, max_size=20),
    )
    def test_a_run_starts_exactly_if_it_may(
        self, concurrency: int | None, rate: float | None, steps: list[tuple[str, Any]]
    ) -> None:
        """It does not start beyond a limit, and nothing but a limit, or a run of the same object, keeps it from it."""
        with FakeClock(datetime(2026, 5, 1, 12, tzinfo=UTC)) as clock, pytest.MonkeyPatch.context() as patch:
            patch.setattr(Scripted, "alarm_concurrency", concurrency)
            patch.setattr(Scripted, "alarm_rate", rate)
            due(*"abcd")
            leases: dict[str, datetime] = {}
            next_start = clock.now()
            for verb, argument in steps:
                if verb == "wait":
                    clock.advance(timedelta(milliseconds=argument))
                elif verb == "end":
                    leases.pop(argument, None)
                    Alarm.objects.filter(object__name=argument).update(leased_until=None, crashed_starts=0)
                elif limits.of(Scripted) is not None:
                    leases = {name: until for name, until in leases.items() if until > clock.now()}
                    has_place = concurrency is None or len(leases) < concurrency
                    may = has_place and argument not in leases and next_start <= clock.now()
                    assert starts(argument) == may
                    if may:
                        leases[argument] = clock.now() + engine.LEASE
                        next_start = clock.now() + timedelta(seconds=1 / rate if rate else 0)


def starts(name: str) -> bool:
    """Fire the alarm; return whether its handler was reached, where the process dies and leaves its lease."""
    try:
        with crash_at("firing.before_handler"):
            assert fire(pk_of(name)).verdict is Verdict.DROPPED
    except SimulatedCrash:
        return True
    return False
