"""The row is the truth, the message to Celery a hint: when one is sent, and what one that arrives does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NoReturn

import pytest
from django.db import transaction

import durable_objects
from durable_objects import tasks
from durable_objects.tasks import dispatch_alarms
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at
from tests.conformance.behaviour import behaviour
from tests.conformance.conftest import Message
from tests.conformance.scenes import HOUR, SECOND, again, slot
from tests.models import Script, Scripted

pytestmark = pytest.mark.django_db

Committed = Callable[[], AbstractContextManager[object]]


def later(seconds: int) -> FakeClock:
    """The clock that many seconds from now."""
    return FakeClock(durable_objects.now() + seconds * SECOND)


@pytest.fixture
def no_broker(monkeypatch: pytest.MonkeyPatch, messages: list[Message]) -> None:
    """Celery cannot send."""

    def refuse(*args: Any, **options: Any) -> NoReturn:
        raise ConnectionRefusedError("no broker")

    monkeypatch.setattr(tasks.fire_alarm, "apply_async", refuse)


@behaviour("S1", "a new object has no alarm")
@behaviour("S2", "set, commit, read: it is there, and was scheduled")
def test_s2_set_sends_one_message(obj: Scripted, messages: list[Message], committed: Committed) -> None:
    """Before the set there is none; afterwards it reads back, and one message is out for that time."""
    assert obj.storage.get_alarm() is None
    with committed():
        obj.storage.set_alarm(20 * SECOND)
    assert obj.storage.get_alarm() is not None
    [message] = messages
    assert 19 < message.countdown <= 20


@behaviour("S4", "a write that does not touch the alarm does not wait for the scheduler")
def test_s4_other_writes_send_nothing(obj: Scripted, messages: list[Message], committed: Committed) -> None:
    """Calls on an object that has no alarm, or whose message is out, send none."""
    with committed():
        obj.storage.put("k", 0)
    assert messages == []
    with committed():
        obj.storage.set_alarm(20 * SECOND)
    for number in range(3):
        with committed():
            obj.storage.put("k", number)
    assert len(messages) == 1


@behaviour(
    "S5",
    "the scheduler is notified before an implicit commit",
    differs="after it: a message that arrives before the commit would find nothing. If it is lost, the dispatcher's "
    "next pass finds the row; nothing to do",
)
@behaviour("S6", "the scheduler is notified before an explicit commit", differs="after it, as S5")
@behaviour("S7", "nested commits schedule nothing, only the outermost does")
@behaviour("S27", "an earlier time: first notified, then committed", differs="committed, then notified, as S5")
def test_s5_notified_after_the_outermost_commit(obj: Scripted, messages: list[Message], committed: Committed) -> None:
    """Neither the end of a block nor that of the turn sends; the commit of the caller's transaction does, once."""
    with committed():
        with transaction.atomic(), obj.storage.transaction():
            with obj.storage.transaction():
                obj.storage.set_alarm(20 * SECOND)
            obj.storage.set_alarm(10 * SECOND)
        assert messages == []
    assert len(messages) == 1
    with committed():
        obj.storage.set_alarm(5 * SECOND)
        assert len(messages) == 1
    assert len(messages) == 2


@behaviour("DO-56", "the object's own row is the truth, the scheduler a hint: the hint is never later than the row")
def test_do_56_a_message_is_never_later_than_the_row(
    obj: Scripted, script: Script, messages: list[Message], committed: Committed
) -> None:
    """However the alarm is moved, a message that counts is out at or before its time; without the row it is nothing."""
    for seconds in (30, 20, 40, 10, 50):
        with committed():
            obj.storage.set_alarm(seconds * SECOND)
        assert messages[-1].args[1] == slot().wake_up_number
        assert messages[-1].countdown <= seconds
    obj.storage.delete_alarm()
    with later(60):
        assert {message.deliver() for message in messages} == {"dropped"}
    assert script.infos == []


@behaviour(
    "DO-57",
    "a new or earlier time: notify the scheduler, then commit; if that fails the write fails and the object is reset",
    differs="trouble with the broker never fails the caller: the alarm stands, and the dispatcher sends its wake-up",
)
@behaviour("S8", "the scheduler throws: the commit fails, the old alarm is back", differs="the alarm stands, as DO-57")
@behaviour("S31", "notice of an earlier time is refused: the write fails", differs="the alarm stands, as DO-57")
def test_do_57_no_broker_is_not_the_callers_trouble(
    obj: Scripted, script: Script, no_broker: None, committed: Committed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no broker the set is committed; when there is one again a dispatcher's pass publishes."""
    for seconds in (20, 10):
        with committed():
            obj.storage.set_alarm(seconds * SECOND)
            obj.storage.put("k", seconds)
    at = obj.storage.get_alarm()
    assert at is not None
    assert at <= durable_objects.now() + 10 * SECOND
    assert obj.storage.get("k") == 10
    sent: list[tuple[Any, ...]] = []
    monkeypatch.setattr(tasks.fire_alarm, "apply_async", lambda args, **options: sent.append(args))
    with committed():
        dispatch_alarms()
    assert sent == [(obj.pk, slot().wake_up_number, False)]


@behaviour("DO-58", "a later time, or none: commit first, then tell; many moves become few calls")
@behaviour("S28", "a later time: first committed, then notified")
@behaviour("S30", "several moves later are notified in order, after the commit")
@behaviour("S33", "many quick moves later become one call for the last")
def test_do_58_moves_to_later_send_nothing(
    obj: Scripted, script: Script, messages: list[Message], committed: Committed
) -> None:
    """While an earlier message is out none is sent; when that arrives it goes on, once, for the time that stands."""
    for seconds in (10, 20, 30, 40, 50):
        with committed():
            obj.storage.set_alarm(seconds * SECOND)
    [message] = messages
    assert message.deliver() == "again"
    assert message.deliver() == "dropped"
    assert len(messages) == 2
    assert 48 < messages[1].countdown <= 50
    with later(50):
        assert [one.deliver() for one in messages] == ["dropped", "succeeded"]


@behaviour("S32", "notice of a later time is refused: harmless")
def test_s32_a_later_time_needs_no_broker(obj: Scripted, no_broker: None, committed: Committed) -> None:
    """Moving or clearing an alarm while the broker is away does what it says."""
    obj.storage.set_alarm(10 * SECOND)
    with committed():
        obj.storage.set_alarm(40 * SECOND)
    at = obj.storage.get_alarm()
    assert at is not None
    assert at > durable_objects.now() + 30 * SECOND
    with committed():
        obj.storage.delete_alarm()
    assert obj.storage.get_alarm() is None


@behaviour(
    "S29",
    "several earlier times in flight: the commit waits for the earliest to be notified",
    differs="no commit waits for a message, and each earlier time sends one: only the last counts",
)
@behaviour("S35", "moved later and then earlier: the later one is dropped; never two calls at once")
def test_s35_of_many_messages_one_counts(
    obj: Scripted, script: Script, messages: list[Message], committed: Committed
) -> None:
    """Each earlier time sends a message of its own; all of them delivered are one run, by the last."""
    for seconds in (40, 30, 50, 20, 10):
        with committed():
            obj.storage.set_alarm(seconds * SECOND)
    assert len(messages) == 4
    with later(60):
        assert [message.deliver() for message in messages] == ["dropped"] * 3 + ["succeeded"]
    assert len(script.infos) == 1


@behaviour(
    "DO-59",
    "a call for time h meets a row: the same, run; none, cancel; another one past, run; one ahead, call again",
)
@behaviour("S12", "no alarm in the row: cancel")
@behaviour("S13", "the row's time is earlier than the call's: cancel, call at the row's")
@behaviour("S14", "the row's time is later than the call's: cancel, call at the row's")
@behaviour("S15", "the row's time is another, but past: run now, then cleared")
def test_do_59_the_row_decides(obj: Scripted, script: Script, messages: list[Message], committed: Committed) -> None:
    """A wake-up runs what is due by the row, whatever time it was sent for, and goes on for what is ahead."""
    with committed():
        obj.storage.set_alarm(20 * SECOND)
    with committed():
        obj.storage.set_alarm(10 * SECOND)  # earlier: a message of its own, and the first is void
    assert [message.deliver() for message in messages[:2]] == ["dropped", "again"]
    assert 8 < messages[-1].countdown <= 10
    with committed():
        obj.storage.set_alarm(30 * SECOND)  # later than what is out
    assert messages[-1].deliver() == "again"
    assert 28 < messages[-1].countdown <= 30
    with committed():
        obj.storage.set_alarm(40 * SECOND)
    with later(60):
        assert messages[-1].deliver() == "succeeded"  # sent for 30 s, and 40 s is past as well
        assert obj.storage.get_alarm() is None
        obj.storage.set_alarm(HOUR)
        obj.storage.delete_alarm()
        assert {message.deliver() for message in messages} == {"dropped"}
    assert len(script.infos) == 1


@behaviour("C3", "deleting the alarm at the end of a run is repeated until it is done, but for a newer one that came")
def test_c3_the_end_is_repeated_until_it_is_committed(
    obj: Scripted, script: Script, messages: list[Message], committed: Committed
) -> None:
    """A run whose commit fails is run again by the next wake-up, until a newer alarm takes its place."""
    with committed():
        obj.storage.set_alarm(10 * SECOND)
    with later(10):
        for _ in range(2):
            with crash_at("turn.before_commit"), pytest.raises(SimulatedCrash):
                messages[0].deliver()
        again().storage.set_alarm(HOUR)
        assert messages[0].deliver() == "dropped"
        assert obj.storage.get_alarm() == durable_objects.now() + HOUR
    assert len(script.infos) == 2
