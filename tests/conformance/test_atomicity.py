"""Alarm and entries go together: committed, undone, and undone in part."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.db import transaction
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from durable_objects import AlarmInfo, exclusive
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at, run_due_alarms
from tests.conformance.behaviour import behaviour
from tests.conformance.scenes import HOUR, NOW, SECOND, Boom, outcomes, undone
from tests.models import Counter, Note, Script, Scripted

pytestmark = pytest.mark.django_db


@behaviour("DO-54", "put and setAlarm of one turn commit together or not at all")
@behaviour("S3", "the alarm is written in the transaction of the other writes")
def test_do_54_alarm_and_entries_commit_together(clock: FakeClock, obj: Scripted) -> None:
    """A turn that cannot be committed leaves neither; one that can leaves both."""

    def both() -> None:
        obj.storage.put("k", 1)
        obj.storage.set_alarm(HOUR)

    with crash_at("turn.before_commit"), pytest.raises(SimulatedCrash):
        obj.run_exclusive(both)
    assert (obj.storage.list(), obj.storage.get_alarm()) == ({}, None)
    obj.run_exclusive(both)
    assert (obj.storage.list(), obj.storage.get_alarm()) == ({"k": 1}, clock.now() + HOUR)


@behaviour(
    "DO-55", "an alarm set or deleted inside `transaction()` is undone with it; nested ones pass on to the parent"
)
@behaviour("S46", "2, then 1 in a transaction that is rolled back: 2")
@behaviour("J5", "a throw in a transaction undoes setAlarm; it can be set again")
def test_do_55_a_block_takes_its_alarm_along(clock: FakeClock, obj: Scripted) -> None:
    """A block that raises undoes its set or delete; what an inner block did lives and dies with the outer one."""
    obj.storage.set_alarm(2 * HOUR)
    with undone(), obj.storage.transaction():
        obj.storage.set_alarm(HOUR)
        raise Boom
    with undone(), obj.storage.transaction():
        with obj.storage.transaction():
            obj.storage.delete_alarm()
        assert obj.storage.get_alarm() is None
        raise Boom
    assert obj.storage.get_alarm() == clock.now() + 2 * HOUR
    with obj.storage.transaction(), obj.storage.transaction():
        obj.storage.set_alarm(HOUR)
    assert obj.storage.get_alarm() == clock.now() + HOUR


@behaviour("S47", "in the handler: a set that is rolled back leaves none; a good end still deletes the alarm")
@behaviour("S48", "in the handler: a set in a transaction that is kept stays")
@pytest.mark.parametrize("kept", [False, True])
def test_s47_blocks_in_the_handler(clock: FakeClock, obj: Scripted, *, kept: bool) -> None:
    """A set in a block of the handler counts if the block is kept."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        try:
            with obj.storage.transaction():
                obj.storage.set_alarm(HOUR)
                if not kept:
                    raise Boom
        except Boom:
            assert obj.storage.get_alarm() is None

    obj.script.alarm = alarm
    obj.storage.set_alarm(NOW)
    assert outcomes(run_due_alarms()) == ["succeeded"]
    assert obj.storage.get_alarm() == (clock.now() + HOUR if kept else None)


@behaviour("S49", "in the handler: inner block rolled back or kept, outer rolled back: all as before")
@pytest.mark.parametrize("inner", ["kept", "undone"])
def test_s49_nested_blocks_in_the_handler(clock: FakeClock, obj: Scripted, *, inner: str) -> None:
    """Whatever became of the inner block, the outer one that is undone leaves the alarm as it was before it."""

    def alarm(obj: Scripted, info: AlarmInfo) -> None:
        obj.storage.set_alarm(3 * HOUR)
        with undone(), obj.storage.transaction():
            obj.storage.set_alarm(HOUR)
            try:
                with obj.storage.transaction():
                    obj.storage.delete_alarm()
                    if inner == "undone":
                        raise KeyError
            except KeyError:
                assert obj.storage.get_alarm() == clock.now() + HOUR
            raise Boom
        assert obj.storage.get_alarm() == clock.now() + 3 * HOUR

    obj.script.alarm = alarm
    obj.storage.set_alarm(NOW)
    run_due_alarms(raise_errors=True)
    assert obj.storage.get_alarm() == clock.now() + 3 * HOUR


@behaviour("DO-64", "`put(entries)` is all or nothing")
@behaviour("DO-75", "writes with no await between them are one transaction; an await may split them")
def test_do_75_a_method_is_one_transaction(clock: FakeClock, obj: Scripted) -> None:
    """What a method writes is there as a whole or not at all; ``unlocked()`` is the only place that splits it."""

    def work(*, unlocks: bool) -> None:
        obj.storage.put("a", 1)
        if unlocks:
            with obj.unlocked():
                pass
        obj.storage.put("b", 1)
        raise Boom

    with pytest.raises(TypeError):
        obj.storage.put_many({"a": 1, "b": object()})
    with pytest.raises(Boom):
        obj.run_exclusive(lambda: work(unlocks=False))
    assert obj.storage.list() == {}
    with pytest.raises(Boom):
        obj.run_exclusive(lambda: work(unlocks=True))
    assert obj.storage.list() == {"a": 1}


@behaviour("DO-76", "`transaction(fn)`: return commits, a throw rolls back and is passed on; the object is not reset")
@behaviour("DO-78", "`transactionSync(fn)` is a savepoint, may be nested, and takes the alarm along")
def test_do_76_a_transaction_is_a_block(clock: FakeClock, obj: Scripted) -> None:
    """``with storage.transaction():`` keeps or undoes its writes and alarm, nested too, and the turn goes on."""

    def work() -> dict[str, int]:
        obj.storage.put("turn", 1)
        with undone(), obj.storage.transaction():
            with obj.storage.transaction():
                obj.storage.put("inner", 1)
                obj.storage.set_alarm(HOUR)
            obj.storage.put("outer", 1)
            raise Boom
        with obj.storage.transaction():
            obj.storage.put("kept", 1)
        return obj.storage.list()

    assert obj.run_exclusive(work) == {"kept": 1, "turn": 1}
    assert obj.storage.list() == {"kept": 1, "turn": 1}
    assert obj.storage.get_alarm() is None


@behaviour(
    "DO-77",
    "`txn.rollback()` by hand; a call on a transaction that has ended is an error",
    differs="a block is undone by raising, and has no handle that could be used too late: raise inside, catch outside",
)
def test_do_77_undone_by_raising(clock: FakeClock, obj: Scripted) -> None:
    """Raise in the block and catch it outside: the outer block goes on, and undoes kept inner ones with itself."""
    with obj.storage.transaction():
        with undone(), obj.storage.transaction():
            obj.storage.put("undone", 1)
            raise Boom
        obj.storage.put("kept", 1)
    with undone(), obj.storage.transaction():
        with obj.storage.transaction():
            obj.storage.delete("kept")
        raise Boom
    assert obj.storage.list() == {"kept": 1}


@behaviour("C28", "the slot: unset is not zero; set, overwrite, clear, reset; what was read is forgotten by a rollback")
def test_c28_what_is_read_is_what_stands(clock: FakeClock, obj: Scripted) -> None:
    """Each read of the alarm answers what stands then, in a turn too, after a block that was undone too."""
    with obj.storage.transaction():
        assert obj.storage.get_alarm() is None
        obj.storage.set_alarm(-HOUR)
        assert obj.storage.get_alarm() == clock.now()
        obj.storage.set_alarm(HOUR)
        with undone(), obj.storage.transaction():
            obj.storage.delete_alarm()
            assert obj.storage.get_alarm() is None
            raise Boom
        assert obj.storage.get_alarm() == clock.now() + HOUR
        obj.storage.delete_alarm()
        assert obj.storage.get_alarm() is None
        obj.storage.set_alarm(SECOND)
    assert obj.storage.get_alarm() == clock.now() + SECOND


@behaviour(
    "J7",
    "each operation makes a trace span; a transaction takes a function that is not async",
    differs="each turn and each run makes a span where `TRACING` asks for it, operations none; a run is linked to the "
    "trace that set its alarm. An async method is refused at import: async code calls a plain one by `acall()`",
)
def test_j7_spans_of_turns_and_runs(
    clock: FakeClock, obj: Scripted, script: Script, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """A call is a span, and so is the run of the alarm that it set, with a link; ``async def`` is a TypeError."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    settings.DURABLE_OBJECTS = {"TRACING": True}
    obj.storage.set_alarm(NOW)
    run_due_alarms()
    turn, *others = exporter.get_finished_spans()
    [run] = [span for span in others if span.name == "alarm tests.Scripted"]
    assert turn.name == "turn tests.Scripted"
    context = turn.get_span_context()
    assert context is not None
    assert [link.context.span_id for link in run.links] == [context.span_id]

    async def method(self: Counter) -> None:
        """Would run after its turn has ended."""

    with pytest.raises(TypeError, match="acall"):
        exclusive(method)


@behaviour(
    "DO-80",
    "replies and outgoing calls wait until the writes are on disk; a failed write drops them, and callers get an error",
    differs="the reply does: a call returns after the commit, or raises. What the method itself sends goes at once: "
    "send it by Django's `transaction.on_commit`, or from the alarm",
)
def test_do_80_a_call_that_returned_is_committed(
    obj: Scripted, committed: Callable[[], AbstractContextManager[object]]
) -> None:
    """Where the commit fails the caller gets the error, nothing is kept, and what waited for the commit is not sent."""
    sent = []

    def work() -> str:
        obj.storage.put("k", 1)
        Note.objects.create(text="mine")
        transaction.on_commit(lambda: sent.append("mail"))
        return "reply"

    with crash_at("turn.before_commit"), pytest.raises(SimulatedCrash):
        obj.run_exclusive(work)
    assert (obj.storage.list(), Note.objects.count()) == ({}, 0)
    with committed():
        assert obj.run_exclusive(work) == "reply"
    assert sent == ["mail"]
    assert (obj.storage.list(), Note.objects.count()) == ({"k": 1}, 1)


@behaviour("S57", "a write that nobody waits for and that fails still breaks the object: it is never silent")
def test_s57_a_failed_write_is_never_silent(obj: Scripted) -> None:
    """Who sets an alarm in a turn that fails gets the error, and the alarm is not set."""

    def work() -> None:
        obj.storage.set_alarm(HOUR)
        raise Boom

    with pytest.raises(Boom):
        obj.run_exclusive(work)
    assert obj.storage.get_alarm() is None
