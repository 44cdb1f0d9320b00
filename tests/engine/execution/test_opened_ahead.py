"""The message with the commit of one alarm begins the transaction of the next: what each of the two still may meet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from durable_objects import AlarmInfo
from durable_objects.database import clock
from durable_objects.delivery import publisher
from durable_objects.execution import firing, shared_messages
from durable_objects.execution.executor import fire
from durable_objects.execution.shared_messages import Outcome, fire_each
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.tables import Alarm, AlarmRun, Object
from durable_objects.testing import SimulatedCrash, crash_at
from durable_objects.turns import lock, opened_ahead
from tests.engine.execution.conftest import LIMIT, NAMES, Alarms, Messages, count, runs
from tests.models import Counter, Script, Scripted
from tests.support.threads import InThread, await_event

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="PostgreSQL's: set TEST_DATABASE_URL"),
]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine nothing is slow but what is meant to be."""
    monkeypatch.setattr(shared_messages, "SLOW_AFTER_SECONDS", 60.0)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The objects whose transactions were begun ahead."""
    opened: list[int] = []
    keep = opened_ahead.keep

    def kept(conn: Any, ahead: opened_ahead.Ahead) -> None:
        opened.append(ahead.object_id)
        keep(conn, ahead)

    monkeypatch.setattr(opened_ahead, "keep", kept)
    return opened


def in_a(oddly: Callable[[], object]) -> Callable[[Any, AlarmInfo], None]:
    """A handler that does what all do, and something odd in "a"."""

    def alarm(obj: Any, info: AlarmInfo) -> None:
        count(obj, info)
        if obj.name == "a":
            oddly()

    return alarm


@contextmanager
def elsewhere(sql: str) -> Iterator[Callable[[], None]]:
    """Let another session execute this, by the function that is yielded, in a transaction that lasts as long as the
    block.
    """
    begun, release, threads = threading.Event(), threading.Event(), list[InThread[None]]()

    def keep() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql)
            begun.set()
            await_event(release)

    def begin() -> None:
        threads.append(InThread(keep))
        await_event(begun)

    try:
        yield begin
    finally:
        release.set()
        for thread in threads:
            thread.result()


def is_locked(object_id: int) -> bool:
    """Whether somebody has this object locked."""

    def ask() -> bool:
        with transaction.atomic():
            return not Object.objects.filter(pk=object_id).select_for_update(skip_locked=True).exists()

    return InThread(ask).result()


def execute(sql: str) -> Any:
    """The first value that the session answers with, if any."""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0] if cursor.description else None


def test_each_but_the_first_is_begun_by_the_commit_before_it(alarms: Alarms, opened: list[int]) -> None:
    """All run, in the order of the message, and nothing is left open."""
    assert fire_each(alarms, LIMIT) == Outcome(4, [])
    assert opened == [object_id for object_id, _, _ in alarms[1:]]
    assert runs() == dict.fromkeys(NAMES, 1)
    assert set(AlarmRun.objects.values_list("outcome", flat=True)) == {"succeeded"}
    assert not connection.in_atomic_block


@pytest.fixture
def deferred_refusal() -> Iterator[Callable[[], object]]:
    """What makes the commit of the transaction that it is called in fail."""
    execute("CREATE TABLE parent (id int PRIMARY KEY)")
    execute("CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
    yield lambda: execute("INSERT INTO child VALUES (1)")
    execute("DROP TABLE child, parent")


def test_commit_that_fails_is_the_failure_of_its_own_alarm(
    alarms: Alarms, script: Script, messages: Messages, opened: list[int], deferred_refusal: Callable[[], object]
) -> None:
    """It is counted once and undone; the next one is begun by itself and runs."""
    script.alarm = in_a(deferred_refusal)
    assert fire_each(alarms, LIMIT).ran == 4
    assert runs() == {"a": 0, "b": 1, "c": 1, "d": 1}
    assert opened == [object_id for object_id, _, _ in alarms[2:]]
    assert list(AlarmRun.objects.order_by("id").values_list("outcome", flat=True)) == ["failed", *["succeeded"] * 3]
    assert "child_id_fkey" in AlarmRun.objects.get(outcome="failed").error
    assert [(each.object_id, each.retries) for (each,) in messages] == [(alarms[0][0], 1)]


@pytest.mark.parametrize("part", ["lock", "look"])
def test_opening_that_fails_is_not_the_failure_of_the_alarm_before(
    alarms: Alarms, messages: Messages, monkeypatch: pytest.MonkeyPatch, opened: list[int], part: str
) -> None:
    """What is committed has succeeded, once; the next one is begun by itself."""
    opening = lock.opening

    def fails_ahead(*args: Any, skip_locked: bool = False, **options: Any) -> lock.Opening:
        whole = opening(*args, skip_locked=skip_locked, **options)
        return whole._replace(**{part: [("SELECT 1 / 0", ())]}) if skip_locked else whole

    monkeypatch.setattr(lock, "opening", fails_ahead)
    assert fire_each(alarms, LIMIT) == Outcome(4, [])
    assert (opened, messages, runs()) == ([], [], dict.fromkeys(NAMES, 1))
    assert set(AlarmRun.objects.values_list("outcome", flat=True)) == {"succeeded"}


def test_nobody_waits_for_the_lock_of_the_next(
    alarms: Alarms, script: Script, monkeypatch: pytest.MonkeyPatch, opened: list[int]
) -> None:
    """Whose object somebody has locked does not keep the one before from being told as succeeded."""
    monkeypatch.setattr(firing, "WAIT_FOR_LOCK", timedelta(seconds=30))
    with elsewhere(f"SELECT 1 FROM durable_objects_object WHERE id = {alarms[1][0]} FOR UPDATE") as lock_b:
        script.alarm = in_a(lock_b)
        begun = clock.monotonic()
        fired = fire(*alarms[0][:2], kind_id=alarms[0][2], next_object=lambda: alarms[1][0])
        assert clock.monotonic() - begun < 20
    assert (fired.verdict, opened) == (Verdict.SUCCEEDED, [])
    assert runs()["a"] == 1


def test_hooks_are_called_before_the_next_begins(alarms: Alarms, script: Script, opened: list[int]) -> None:
    """What code does after its commit is done with no other object locked, and outside of any transaction."""
    seen: list[tuple[bool, bool]] = []

    def look() -> None:
        seen.append((connection.in_atomic_block, is_locked(alarms[1][0])))

    script.alarm = in_a(lambda: transaction.on_commit(look))
    assert fire_each(alarms[:2], LIMIT).ran == 2
    assert (seen, opened) == ([(False, False)], [])


def test_spans_are_sent_before_the_next_begins(
    alarms: Alarms, settings: Any, monkeypatch: pytest.MonkeyPatch, opened: list[int]
) -> None:
    """No object is locked while an exporter that sends at once has the span of a turn before it."""
    locked: list[list[int]] = []

    class Sending(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            if span.name.startswith("turn"):
                locked.append([object_id for object_id, _, _ in alarms if is_locked(object_id)])

    provider = TracerProvider()
    provider.add_span_processor(Sending())
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    settings.DURABLE_OBJECTS = {**getattr(settings, "DURABLE_OBJECTS", {}), "TRACING": True}
    assert fire_each(alarms, LIMIT).ran == 4
    assert (locked, opened) == ([[]] * 4, [])


def test_wake_ups_are_published_before_the_next_begins(
    alarms: Alarms, script: Script, messages: Messages, opened: list[int]
) -> None:
    """A broker that is slow to answer keeps no object locked."""
    seen: list[bool] = []
    publisher.register(lambda one: seen.append(is_locked(alarms[1][0])), lambda: False, lambda several: None)
    script.alarm = in_a(lambda: Scripted.objects.get_by_name("a").storage.set_alarm(timedelta(seconds=5)))
    assert fire_each(alarms[:2], LIMIT).ran == 2
    assert (seen, opened) == ([False], [])


@pytest.mark.parametrize("name", ["a", "b"])
def test_what_outlasts_a_transaction_does_not_reach_the_next(
    alarms: Alarms, script: Script, opened: list[int], name: str
) -> None:
    """A session that a handler has changed ends with its run, be that the first or one that was begun ahead."""
    seen: dict[str, bool] = {}

    def alarm(obj: Any, info: AlarmInfo) -> None:
        if obj.name == name:
            execute("SET application_name = 'changed'")
        seen[obj.name] = execute("SELECT current_setting('application_name')") == "changed"

    script.alarm = alarm
    assert fire_each(alarms, LIMIT).ran == 4
    assert seen == dict.fromkeys(NAMES, False) | {name: True}
    assert len(opened) == 2


def test_worker_that_dies_after_a_commit_has_not_begun_the_next(alarms: Alarms, script: Script) -> None:
    """What was committed has run; the next one is free again, without a run or a start that counts."""
    with pytest.raises(SimulatedCrash), crash_at("turn.after_commit"):
        fire_each(alarms, LIMIT)
    assert not is_locked(alarms[1][0])
    assert runs() == {"a": 1, "b": 0, "c": 0, "d": 0}
    assert set(Alarm.objects.filter(state="armed").values_list("retry_count", "crashed_starts")) == {(0, 0)}
    assert fire_each(alarms, LIMIT).ran == 3
    assert runs() == dict.fromkeys(NAMES, 1)


def test_session_that_ends_between_two_costs_neither(alarms: Alarms, script: Script, messages: Messages) -> None:
    """The one before has succeeded, the next one comes again, not counted, and the rest runs on another session."""

    def alarm(obj: Any, info: AlarmInfo) -> None:
        if obj.name == "b":
            execute("SELECT pg_terminate_backend(pg_backend_pid())")
        count(obj, info)

    script.alarm = alarm
    assert fire_each(alarms, LIMIT).ran == 3
    assert runs() == {"a": 1, "b": 0, "c": 1, "d": 1}
    assert messages.alone() == [alarms[1][0]]
    assert set(Alarm.objects.filter(state="armed").values_list("retry_count", "crashed_starts")) == {(0, 0)}


def test_one_that_is_sent_on_meanwhile_is_released(alarms: Alarms, opened: list[int]) -> None:
    """What was begun ahead and is run elsewhere is undone as soon as another one comes here, or none."""
    conn = clock.connection()
    with opened_ahead.undone_at_the_end(conn):
        fire(*alarms[0][:2], kind_id=alarms[0][2], next_object=lambda: alarms[1][0])
        assert is_locked(alarms[1][0])
        fire(*alarms[2][:2], kind_id=alarms[2][2], next_object=lambda: alarms[3][0])
        assert [is_locked(object_id) for object_id, _, _ in alarms] == [False, False, False, True]
    assert not is_locked(alarms[3][0])
    assert opened == [alarms[1][0], alarms[3][0]]
    assert runs() == {"a": 1, "b": 0, "c": 1, "d": 0}


def test_class_in_the_message_is_checked(alarms: Alarms, script: Script, opened: list[int]) -> None:
    """One that is of another class than its neighbour is not begun ahead; where only the message says so, it runs as
    what it is.
    """
    Counter.objects.get_by_name("other").add()
    other = Object.objects.get(name="other")
    mixed = [alarms[0], (other.pk, 1, other.kind_id), alarms[1]]
    assert fire_each(mixed, LIMIT).ran == 2
    assert opened == []
    assert fire_each([alarms[2], (other.pk, 1, alarms[2][2]), alarms[3]], LIMIT).ran == 2
    assert opened == [other.pk]
    assert runs() == dict.fromkeys(NAMES, 1)
