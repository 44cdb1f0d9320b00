"""``alarms explain``: why an alarm ran when it did, or has not run, from what is on record."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import connection
from django.test import override_settings

from durable_objects import GiveUp
from durable_objects.alarms.backoff import lost_after
from durable_objects.delivery import processes
from durable_objects.operations.delivery_state import DeliveryState
from durable_objects.operations.explain import explain, steps_of, why_late
from durable_objects.tables import Alarm, AlarmRun, Dispatcher, Object, Process
from durable_objects.testing import FakeClock, run_due_alarms
from tests.engine.management.test_alarms_command import KIND, alarms
from tests.models import Script, Scripted
from tests.support.admin_pages import fail, park

pytestmark = pytest.mark.django_db

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def explained(obj: Object, clock: FakeClock) -> str:
    """All sentences on an object's alarm, as one text."""
    found = explain(Object.objects.get(pk=obj.pk), clock.now())
    return " ".join([found.status.word, found.status.sentence, *found.why, "Next:", *found.next])


def why_late_now(clock: FakeClock) -> str:
    """Return why the only alarm is late."""
    return why_late([Alarm.objects.get()], DeliveryState(clock.now())).popitem()[1]


def passed(clock: FakeClock, ago: timedelta = timedelta(0), *, refused: bool = False) -> None:
    """Record a dispatcher whose last pass was that long ago."""
    at = clock.now() - ago
    Dispatcher.objects.create(
        process=f"host:{ago}", started_at=at, last_pass_at=at, refused_since=at if refused else None
    )


def change(obj: Scripted, **columns: object) -> None:
    """Put an alarm's row into the state that a test is about."""
    Alarm.objects.filter(pk=obj.pk).update(**columns)


CASES: dict[str, tuple[Callable[[Scripted, FakeClock], object], list[str]]] = {
    "far": (
        lambda obj, clock: obj.storage.set_alarm(timedelta(days=2)),
        ["armed Runs in 2d.", "further away than HORIZON (1m)", "A dispatcher sends its wake-up from 2026-05-03"],
    ),
    "no wake-up out": (
        lambda obj, clock: obj.storage.set_alarm(10 * SECOND),
        ["No wake-up is out for it.", "The next dispatcher's pass sends one (every 5s)."],
    ),
    "ahead of its time": (
        lambda obj, clock: change(obj, wake_up_number=3, wake_up_for=clock.now() + MINUTE),
        [
            "Wake-up 3 is out, and waits for its time in the broker or in a worker. It goes to the queue 'alarms'.",
            "A worker runs it in 1m.",
        ],
    ),
    "in the broker": (
        lambda obj, clock: change(obj, due_at=clock.now() - SECOND, wake_up_number=3, wake_up_for=clock.now() - SECOND),
        ["Wake-up 3 has been out for 1s: the broker has it", "the queue 'alarms'.", "a dispatcher sends it again."],
    ),
    "lost": (
        lambda obj, clock: change(
            obj, due_at=clock.now() - MINUTE, wake_up_number=3, wake_ups_lost=1, wake_up_for=clock.now() - MINUTE
        ),
        ["overdue", "Wake-up 3 has counted as lost for 40s", "Sent again so far: 1 times.", "'alarms': does a worker"],
    ),
    "leased": (
        lambda obj, clock: change(obj, leased_until=clock.now() + MINUTE, leased_by="web-1:77", leased_generation=1),
        ["running", "Leased by web-1:77 until 2026-05-01 12:01:00 UTC (in 1m).", "the lease runs out at that time"],
    ),
    "left behind": (
        lambda obj, clock: change(
            obj, due_at=clock.now() - MINUTE, leased_until=clock.now() - SECOND, leased_by="web-1:77", crashed_starts=3
        ),
        [
            "The lease of its run ended 1s ago",
            "The worker was web-1:77.",
            "started and never ended (the worker crashed or was killed): 3; after 10 the alarm is dead",
        ],
    ),
    "retrying": (
        lambda obj, clock: change(
            obj,
            retry_count=2,
            due_at=clock.now() + 4 * SECOND,
            last_error="Traceback\nValueError: upstream answered 503",
        ),
        ["Failed runs: 2. The next try is in 4s.", "This is retry 2 of 6; the last run failed: "],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_alarm_is_explained(case: str, clock: FakeClock, obj: Scripted) -> None:
    """Each way in which an alarm can stand is explained with its reason and what comes next."""
    passed(clock)
    obj.storage.set_alarm(MINUTE)
    put, sentences = CASES[case]
    put(obj, clock)
    text = explained(obj, clock)
    assert [sentence for sentence in sentences if sentence not in text] == [], text
    assert "dispatcher has made" not in text


def test_a_run_says_since_when_and_where(clock: FakeClock, obj: Scripted) -> None:
    """Of a run that goes on in unlocked() it is known since when, and in which process."""
    obj.storage.set_alarm(MINUTE)
    at = clock.now()
    change(obj, leased_until=at + MINUTE, leased_by="web-1:77")
    Process.objects.create(
        process="web-1:77", threads=8, busy=1, busy_since=at - 52 * SECOND, busy_with=obj.pk, code_since=at,
        started_at=at, last_seen_at=at,
    )  # fmt: skip
    assert "Running since 2026-05-01 11:59:08 UTC (52s ago), in a thread of web-1:77." in explained(obj, clock)


def test_busy_workers_are_a_reason_beside_others(clock: FakeClock, obj: Scripted) -> None:
    """That no thread is free is given as a reason of what is due, and hides no other one; nor does another hide it."""
    obj.storage.set_alarm(MINUTE)
    at = clock.now()
    Process.objects.create(
        process="host:1", threads=8, busy=8, busy_since=at - 52 * SECOND, busy_with=obj.pk, code_since=at,
        started_at=at, last_seen_at=at,
    )  # fmt: skip
    busy = "All 8 threads are busy (8 of 8), the longest for 52s."
    assert busy not in explained(obj, clock), "which is not due"
    change(obj, due_at=at - MINUTE)
    nobody = "No dispatcher has made a pass for a day or more"
    assert busy in explained(obj, clock)
    late = why_late_now(clock)
    assert busy in late
    assert nobody in late
    passed(clock)
    assert why_late_now(clock) == busy


def test_that_no_worker_is_left_is_a_reason(clock: FakeClock, obj: Scripted) -> None:
    """Where the last worker has ended, no sentence says that a worker has the wake-up, or takes it by itself."""
    obj.storage.set_alarm(MINUTE)
    at = clock.now()
    change(obj, due_at=at - 5 * SECOND, wake_at=at - 5 * SECOND, wake_up_for=at - 5 * SECOND)
    assert "a worker that is busy" in explained(obj, clock)
    Process.objects.create(
        process="host:1", threads=8, code_since=at, started_at=at, last_seen_at=at - MINUTE, ended_at=at - MINUTE
    )
    text = explained(obj, clock)
    assert "No worker is running: the last one ended 1m ago." in text
    assert "has been out for 5s, and no worker has taken it." in text
    assert "If no worker takes it by" in text


def test_max_out_is_the_reason(clock: FakeClock, obj: Scripted) -> None:
    """While MAX_OUT wake-ups are out, that is the reason why an alarm has none, and what it waits for is shown."""
    passed(clock)
    for name, due, wake_up_for in (("out", -MINUTE, timedelta(0)), ("ahead", 20 * SECOND, 20 * SECOND)):
        other = Scripted.objects.get_by_name(name)
        other.storage.set_alarm(MINUTE)
        change(other, due_at=clock.now() + due, wake_up_for=clock.now() + wake_up_for)
    obj.storage.set_alarm(10 * SECOND)
    with override_settings(DURABLE_OBJECTS={"MAX_OUT": 1}):
        assert "MAX_OUT (1) wake-ups wait ahead of their time already" in explained(obj, clock)
        change(obj, due_at=clock.now() - SECOND)
        full = "MAX_OUT (1) wake-ups are out that no worker has taken yet"
        assert f"{full}. Next: A dispatcher sends it once workers have taken some" in explained(obj, clock)
        clock.advance(MINUTE)
        assert f"{full}: is a worker running?" in explained(obj, clock)


def test_that_no_worker_takes_any_is_the_reason(clock: FakeClock, obj: Scripted) -> None:
    """Of many wake-ups that no worker takes only some are sent again; the others show that, and what to start."""
    passed(clock)
    for number in range(12):
        other = Scripted.objects.get_by_name(f"o{number}")
        other.storage.set_alarm(MINUTE)
        change(other, due_at=clock.now() - MINUTE, wake_up_number=1, wake_up_for=clock.now() - MINUTE)
    text = explained(other, clock)
    assert "Wake-up 1 has counted as lost for 50s" in text
    assert "No worker has taken anything sent since then: is a worker running? Start " in text


def test_a_dead_one_says_since_when_and_why(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A dead alarm names when it died and the line of the error that says most; a fresh object says there is none."""
    obj.save()
    assert "idle No alarm was ever set." in explained(obj, clock)
    script.alarm = fail
    obj.storage.set_alarm(timedelta(0))
    change(obj, retry_count=6)
    run_due_alarms()
    clock.advance(3 * MINUTE)
    text = explained(obj, clock)
    assert "Dead since 2026-05-01 12:00:00 UTC (3m ago), at retry 6: ValueError: refused by <b>upstream</b>" in text


def test_one_that_gave_up_says_so(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """A dead alarm that was given up at its first run says that, and the reason, and not that retries are used up."""

    def give_up(obj: Scripted, info: object) -> None:
        raise GiveUp("the card was refused")

    script.alarm = give_up
    obj.storage.set_alarm(timedelta(0))
    run_due_alarms()
    text = explained(obj, clock)
    assert "dead Given up, so no retry comes: the card was refused." in text
    assert "used up" not in text


def test_a_parked_one_says_so(clock: FakeClock) -> None:
    """An alarm of a class that this code does not have says that this is why."""
    lost = park(state="armed", due_at=clock.now(), scheduled_at=clock.now(), generation=1)
    assert "parked" in explained(lost, clock)
    assert "No class ghost.phantom (unknown here)" in explained(lost, clock)


def test_nobody_dispatches(clock: FakeClock, obj: Scripted) -> None:
    """Without a pass for long, or with a broker that refuses, that is the first reason given, and what to do."""
    obj.storage.set_alarm(MINUTE)
    assert "No dispatcher has made a pass for a day or more, if ever: is beat running?" in explained(obj, clock)
    passed(clock, 3 * MINUTE)
    assert "No dispatcher has made a pass for 3m: is beat running?" in explained(obj, clock)
    with override_settings(DURABLE_OBJECTS={"DISPATCHED_BY": "command"}):
        assert "for 3m: start `manage.py alarms dispatch --loop`." in explained(obj, clock)
    passed(clock, SECOND, refused=True)
    assert "The broker has taken no wake-ups for 1s" in explained(obj, clock)
    passed(clock)
    assert "The broker" not in explained(obj, clock)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL tells who has a row")
def test_a_run_under_the_lock_is_seen(clock: FakeClock, obj: Scripted) -> None:
    """An overdue alarm whose object is locked says that first, and looking does not wait for the lock."""
    obj.storage.set_alarm(timedelta(0))
    clock.advance(MINUTE)
    assert "The object is locked right now" not in explained(obj, clock)
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT 1 FROM durable_objects_object WHERE id = %s FOR NO KEY UPDATE", [obj.pk])
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()
        assert "The object is locked right now" in explained(obj, clock)
        assert f"Database session {pid}" in explained(obj, clock), "and whose it is"
        change(obj, wake_up_for=clock.now())
        asked: list[str] = []
        explain(Object.objects.get(), clock.now(), ask=asked.append)
        assert asked == [], "no worker is asked for what one is doing"
        assert str(pid) not in why_late_now(clock), "which is not for everybody"
    finally:
        other.close()


def test_a_pass_is_on_record(clock: FakeClock) -> None:
    """A process that passes signs, keeps since when it is refused, and is forgotten a day after its last pass."""
    Dispatcher.objects.create(process="gone:1", started_at=clock.now(), last_pass_at=clock.now() - timedelta(days=2))
    processes.sign(clock.now(), refused=False)
    mine = Dispatcher.objects.get()
    assert (mine.last_pass_at, mine.refused_since) == (clock.now(), None)
    began = clock.now()
    processes.sign(began, refused=True)
    clock.advance(MINUTE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "SIGN_EVERY", 0.0)
        processes.sign(clock.now(), refused=True)
    mine.refresh_from_db()
    assert (mine.last_pass_at, mine.refused_since) == (clock.now(), began)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "SIGN_EVERY", 0.0)
        processes.sign(clock.now(), refused=False)
    mine.refresh_from_db()
    assert mine.refused_since is None


def test_each_step_has_its_share(clock: FakeClock) -> None:
    """Of a run's lateness each part has its cause: dispatch, broker, lock, handler."""
    at = clock.now()
    run = AlarmRun(
        scheduled_at=at - MINUTE, due_at=at, wake_up_for=at + 3 * SECOND, picked_up_at=at + 5 * SECOND,
        started_at=at + 6 * SECOND, ended_at=at + 10 * SECOND, retry_count=1, fence=0, outcome="failed",
    )  # fmt: skip
    shares = [(step.what, step.took, step.share) for step in steps_of(run)]
    assert shares[1] == ("due", None, "a retry, moved or revived")
    assert shares[2:] == [
        ("sent", 3 * SECOND, "dispatch"),
        ("picked up", 2 * SECOND, "broker and queue"),
        ("started", SECOND, "lock"),
        ("ended", 4 * SECOND, "handler"),
    ]
    run.wake_up_for, run.picked_up_at = at, at - SECOND
    early = {step.what: step.took for step in steps_of(run)}
    assert (early["sent"], early["picked up"], early["started"]) == (timedelta(0), timedelta(0), 6 * SECOND)


def test_the_command_shows_the_last_run(clock: FakeClock, obj: Scripted, script: Script) -> None:
    """``alarms explain --json`` includes the last run; an object that was never used is an error of one line."""
    obj.storage.set_alarm(timedelta(0))
    run_due_alarms()
    (line,) = alarms("explain", KIND, obj.name)
    assert (line["word"], line["last_run"]["outcome"]) == ("idle", "succeeded")
    assert [step["what"] for step in line["last_run"]["steps"]] == ["planned", "picked up", "started", "ended"]
    assert lost_after(0) == 10 * SECOND
    with pytest.raises(CommandError, match="it was never used"):
        alarms("explain", KIND, "nobody")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task_always_eager": True}, "CELERY_TASK_ALWAYS_EAGER is on in this process"),
        ({"broker_url": "reddis://user:secret@host"}, "No wake-up can be sent to reddis://host: No such transport"),
        ({}, None),
    ],
    ids=["eager", "no transport", "nothing"],
)
def test_what_keeps_this_process_from_sending(
    clock: FakeClock, script: Script, set_celery: Callable[..., None], settings: dict[str, Any], words: str | None
) -> None:
    """Eager tasks, another app or a transport that is missing are part of the reason, last and without a password."""
    obj = Scripted.objects.get_by_name("a")
    obj.storage.set_alarm(10 * SECOND)
    passed(clock)
    without = explain(Object.objects.get(), clock.now()).why
    set_celery(**settings)
    with_it = explain(Object.objects.get(), clock.now()).why
    assert with_it[: len(without)] == without
    assert len(with_it) == len(without) + bool(words)
    assert words is None or with_it[-1].startswith(words)
    assert "secret" not in str(with_it)


def test_schedules_are_explained(obj: Scripted, clock: FakeClock, script: Script) -> None:
    """Each schedule says when it runs next, what failed, and what is dead; the object is due for the first of them."""

    def fail(obj: Scripted) -> None:
        raise ZeroDivisionError("no")

    script.scheduled = fail
    obj.schedules.set("a", "scheduled", every=timedelta(hours=1))
    obj.schedules.set("b", "scheduled", cron="0 3 * * *")
    found = explain(Object.objects.get(), clock.now())
    assert found.status.word == "due"
    assert "Schedule a (every hour) runs scheduled() now." in " ".join(found.why)
    for retry in range(7):
        run_due_alarms()
        if retry == 0:
            assert "retry 1 after: ZeroDivisionError: no" in " ".join(explain(Object.objects.get(), clock.now()).why)
        clock.advance(timedelta(seconds=2 << retry))
    found = explain(Object.objects.get(), clock.now())
    assert found.status.word == "armed"
    assert "is dead: ZeroDivisionError: no" in " ".join(found.why)
    assert "Schedule b (cron 0 3 * * * in UTC) runs scheduled() in " in " ".join(found.why)
