"""What happens to objects and alarms is reported by signals: once, after the commit, to whoever wants to know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection, transaction
from django.dispatch import Signal

from durable_objects import GiveUp, signals
from durable_objects.alarms import backoff
from durable_objects.delivery import publisher
from durable_objects.execution import watchdog
from durable_objects.execution.executor import fire
from durable_objects.execution.groups import fire_group
from durable_objects.operations import actions
from durable_objects.tables import Alarm, AlarmRun, Object
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at, run_due_alarms
from tests.architecture.sources import ROOT
from tests.models import Account, Counter, Grouped, Impatient, Script, Scripted
from tests.support.another_class import make_of
from tests.support.threads import InThread, await_that, run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)

NOW, SECOND, HOUR = timedelta(0), timedelta(seconds=1), timedelta(hours=1)

NAMES = {id(signal): name for name, signal in vars(signals).items() if isinstance(signal, Signal)}


class Received(list[tuple[str, dict[str, Any]]]):
    """The signals that were sent, by name, with what they had."""

    def names(self) -> list[str]:
        """In the order in which they came, ``name of object: name of signal``."""
        return [f"{facts['name']}: {name}" for name, facts in self]

    def of(self, name: str) -> list[dict[str, Any]]:
        """What the signals of this name had."""
        return [facts for each, facts in self if each == name]


@pytest.fixture
def received() -> Iterator[Received]:
    """All that is sent in this test."""
    got = Received()

    def receive(signal: Signal, **facts: Any) -> None:
        got.append((NAMES[id(signal)], facts))

    everything = [signal for signal in vars(signals).values() if isinstance(signal, Signal)]
    for signal in everything:
        signal.connect(receive)
    yield got
    for signal in everything:
        signal.disconnect(receive)


def fail(obj: Any, info: Any) -> None:
    """A handler that fails."""
    raise ValueError("boom")


def nothing() -> None:
    """A call that fails."""
    raise KeyError


def documented() -> dict[str, set[str]]:
    """The arguments of each signal, as docs/reference/events.md has them."""
    page = (ROOT / "docs/reference/events.md").read_text("utf-8").partition("| signal |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|", page, re.MULTILINE)
    return {name: {"sender", "key", "name", *re.findall(r"`(\w+)`", keys)} for name, keys in rows}


def test_a_life_of_an_object(clock: FakeClock, obj: Scripted, script: Script, received: Received) -> None:
    """Made, run, failed, dead, revived, deleted: one signal each, with the arguments that the page names."""
    obj.storage.set_alarm(NOW)
    run_due_alarms()
    script.alarm = fail
    obj.storage.set_alarm(SECOND)
    clock.advance(3 * SECOND)
    [run] = run_due_alarms()
    script.alarm = lambda obj, info: (_ for _ in ()).throw(GiveUp("no use"))
    clock.advance(HOUR)
    run_due_alarms()
    actions.revive(obj)
    obj.delete()
    assert [name for name, _ in received] == [
        "object_created", "alarm_succeeded", "alarm_failed", "alarm_died", "alarm_revived", "object_deleted",
    ]  # fmt: skip
    assert {name: set(facts) for name, facts in received} == documented()
    for _, facts in received:
        assert (facts["sender"], facts["key"], facts["name"]) == (Scripted, ("tests.Scripted", "a"), "a")
    [failed], [died], [revived] = (received.of(f"alarm_{what}") for what in ("failed", "died", "revived"))
    assert (failed["info"].retry_count, failed["info"].lateness) == (0, 2 * SECOND)
    assert "ValueError: boom" in failed["error"]
    assert failed["retry_at"] == run.ended_at + 2 * SECOND
    assert (died["info"].retry_count, died["error"]) == (1, "no use")
    assert revived["scheduled_at"] == failed["info"].scheduled_at == died["info"].scheduled_at


# -- after the commit, once, never for what was rolled back


def test_nothing_is_sent_for_what_is_rolled_back(obj: Scripted, received: Received) -> None:
    """Neither for a turn that raises, nor for one in the caller's transaction that does, or in a savepoint of it."""

    def raising() -> None:
        with transaction.atomic():
            obj.storage.put("k", 1)
            raise KeyError

    with pytest.raises(KeyError):
        raising()
    with pytest.raises(KeyError):
        obj.run_exclusive(nothing)
    Counter.objects.get_by_name("b").add()
    with transaction.atomic():
        with pytest.raises(KeyError):
            raising()
        Counter.objects.get_by_name("b").delete()
        assert received.names() == ["b: object_created"], "nothing before the commit"
    assert received.names() == ["b: object_created", "b: object_deleted"]


def test_run_whose_commit_is_lost_sends_nothing(
    clock: FakeClock, obj: Scripted, script: Script, received: Received
) -> None:
    """A worker that dies before the commit reports nothing; the run that is made again reports once."""
    obj.storage.set_alarm(NOW)
    received.clear()
    with crash_at("turn.before_commit"), pytest.raises(SimulatedCrash):
        fire(obj.pk)
    assert received == []
    fire(obj.pk)
    fire(obj.pk)
    assert received.names() == ["a: alarm_succeeded"]


def test_row_is_there_when_it_is_reported(obj: Scripted) -> None:
    """A receiver sees what is committed, and may call the object."""
    seen: list[object] = []

    def receive(sender: Any, name: str, **facts: Any) -> None:
        seen.append((connection.in_atomic_block, Object.objects.filter(name=name).exists()))
        sender.objects.get_by_name(name).storage.put("by the receiver", 1)

    signals.object_created.connect(receive, sender=Scripted)
    try:
        obj.storage.put("k", 1)
    finally:
        signals.object_created.disconnect(receive, sender=Scripted)
    assert seen == [(False, True)]
    assert obj.storage.list() == {"by the receiver": 1, "k": 1}


def test_objects_that_many_make_at_once_are_created_once(received: Received) -> None:
    """Of several threads that use a new object at the same time one has made it."""
    run_in_threads(4, lambda number: Counter.objects.get_by_name("new").add())
    assert received.names() == ["new: object_created"]


@pytest.mark.parametrize("around", ["alone", "in a transaction"])
def test_objects_made_in_bulk(around: str, received: Received) -> None:
    """``set_alarms`` reports those that it made, and no others; ``create`` and a subclass's ``save`` do, too."""
    Scripted.objects.get_by_name("b").storage.put("k", 1)
    received.clear()
    if around == "alone":
        Scripted.objects.set_alarms(dict.fromkeys("abc", HOUR))
    else:
        with transaction.atomic():
            Scripted.objects.set_alarms(dict.fromkeys("abc", HOUR))
    Scripted.objects.set_alarms(dict.fromkeys("abc", HOUR))
    assert sorted(received.names()) == ["a: object_created", "c: object_created"]
    received.clear()
    Account.objects.create(name="x")
    Account.objects.get_by_name("x").deposit(1)
    assert received.names() == ["x: object_created"]


def test_bulk_delete(received: Received) -> None:
    """A queryset's ``delete()`` reports each object; ``operations.delete`` one of a class that is gone, without one."""
    Counter.objects.set_alarms({})
    for name in "abc":
        Counter.objects.get_by_name(name).add()
    received.clear()
    Counter.objects.exclude(name="c").delete()
    assert received.names() == ["a: object_deleted", "b: object_deleted"]
    received.clear()
    assert Counter.objects.get_by_name("never used").delete() == (0, {})
    gone = ContentType.objects.create(app_label="tests", model="gone")
    make_of(gone)
    assert actions.delete(Object.objects.get(name="c"))
    [(name, facts)] = received
    assert (name, facts["sender"], facts["key"]) == ("object_deleted", None, ("tests.gone", "c"))
    gone.delete()


def test_refused_delete_is_not_reported(received: Received) -> None:
    """What keeps an object from being deleted keeps it from being reported."""
    counter = Counter.objects.get_by_name("a")
    counter.add()
    received.clear()

    def refuse(sender: Any, **kwargs: Any) -> None:
        raise KeyError

    from django.db.models.signals import pre_delete

    pre_delete.connect(refuse, sender=Counter)
    try:
        with pytest.raises(KeyError):
            counter.delete()
    finally:
        pre_delete.disconnect(refuse, sender=Counter)
    assert received == []


# -- however a run ends


def test_group(published: list[publisher.WakeUp], script: Script, received: Received) -> None:
    """Each alarm of a group reports once, also when the group was undone for one of them and run again."""
    Grouped.objects.set_alarms(dict.fromkeys("abcd", NOW))
    script.alarm = lambda obj, info: fail(obj, info) if obj.name == "b" else None
    alarms = [(wake_up.object_id, wake_up.wake_up_number) for wake_up in published]
    received.clear()
    fire_group(alarms, HOUR)
    assert sorted(received.names()) == ["a: alarm_succeeded", "c: alarm_succeeded", "d: alarm_succeeded"]
    fire(published[-1].object_id)
    assert received.names()[-1] == "b: alarm_failed"


def test_wake_ups_of_a_group_go_before_its_receivers(
    published: list[publisher.WakeUp], script: Script, received: Received
) -> None:
    """A receiver that takes its time, or ends the process, does not keep what the group has set from being sent."""
    Grouped.objects.set_alarms(dict.fromkeys("ab", NOW))
    script.alarm = lambda obj, info: obj.storage.set_alarm(SECOND)
    alarms = [(wake_up.object_id, wake_up.wake_up_number) for wake_up in published]
    published.clear()
    sent: list[int] = []

    def receive(**facts: Any) -> None:
        sent.append(len(published))

    signals.alarm_succeeded.connect(receive)
    try:
        fire_group(alarms, HOUR)
    finally:
        signals.alarm_succeeded.disconnect(receive)
    assert sent == [2, 2]


def test_crashed_too_often(clock: FakeClock, obj: Scripted, script: Script, received: Received) -> None:
    """An alarm that is dead since it took its worker down reports that."""
    obj.storage.set_alarm(NOW)
    Alarm.objects.update(crashed_starts=backoff.MAX_CRASHED_STARTS)
    fire(obj.pk, rescue=True)
    [died] = received.of("alarm_died")
    assert "took its worker down 10 times" in died["error"]


def test_ended_by_the_watchdog(
    obj: Scripted, script: Script, received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that the watchdog ended reports its failure once, though its own thread goes on and raises later."""
    monkeypatch.setattr(watchdog, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(Scripted, "alarm_time_limit", timedelta(seconds=0.1))

    def alarm(obj: Scripted, info: Any) -> None:
        with obj.unlocked():
            await_that(lambda: AlarmRun.objects.filter(outcome="failed").exists())
        raise ValueError("too late")

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    assert InThread(lambda: fire(obj.pk)).result().verdict.value == "superseded"
    await_that(lambda: len(received.of("alarm_failed")) > 0)
    [failed] = received.of("alarm_failed")
    assert "AlarmTimeLimitExceeded" in failed["error"]


def test_replaced_while_unlocked(clock: FakeClock, obj: Scripted, script: Script, received: Received) -> None:
    """A run that failed after another call had set the alarm reports no time of a retry, since none comes."""

    def alarm(obj: Scripted, info: Any) -> None:
        with obj.unlocked():
            obj.storage.set_alarm(HOUR)
        raise ValueError

    script.alarm = alarm
    obj.storage.set_alarm(NOW)
    run_due_alarms()
    assert [failed["retry_at"] for failed in received.of("alarm_failed")] == [None]


def test_run_of_a_schedule(
    clock: FakeClock, obj: Scripted, script: Script, received: Received, caplog: pytest.LogCaptureFixture
) -> None:
    """It reports as the alarm does, with the schedule's name; its log line is the same, whatever the name has."""
    obj.schedules.set("100 %s", "scheduled", after=NOW)
    script.scheduled = lambda obj: fail(obj, None)
    run_due_alarms()
    script.scheduled = lambda obj: (_ for _ in ()).throw(GiveUp("no use"))
    clock.advance(HOUR)
    run_due_alarms()
    assert [facts["info"].schedule for name, facts in received if "info" in facts] == ["100 %s"] * 2
    assert [name for name, _ in received] == ["object_created", "alarm_failed", "alarm_died"]
    actions.revive_schedule(obj, "100 %s")
    [revived] = received.of("alarm_revived")
    assert (revived["schedule"], revived["scheduled_at"]) == (
        "100 %s",
        received.of("alarm_died")[0]["info"].scheduled_at,
    )
    [died] = [record for record in caplog.records if vars(record).get("event") == "alarm_died"]
    assert died.getMessage() == "schedule '100 %s' of tests.Scripted 'a' has an occurrence that is dead after 2 runs"
    assert vars(died)["schedule"] == "100 %s"


def test_revived_by_the_command(clock: FakeClock, received: Received) -> None:
    """``alarms revive`` reports as admin and code do."""
    impatient = Impatient.objects.get_by_name("a")
    impatient.storage.set_alarm(NOW)
    run_due_alarms()
    clock.advance(2 * SECOND)
    run_due_alarms()
    call_command("alarms", "revive", "tests.Impatient", "a")
    assert received.names()[-2:] == ["a: alarm_died", "a: alarm_revived"]
