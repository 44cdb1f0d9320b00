"""One pass publishes what is due soon and was not consumed, boundedly; with an empty broker every alarm still runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

import durable_objects
from durable_objects import process
from durable_objects.alarms import history
from durable_objects.delivery import dispatcher, processes, publisher
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.tables import Alarm, AlarmRun, Dispatcher, Object
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at, run_due_alarms
from tests.models import Counter, Script, Scripted
from tests.support.another_class import make_of
from tests.support.threads import run_in_threads

pytestmark = pytest.mark.django_db(transaction=True)

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def slot_of(name: str, due_in: timedelta, *, now: datetime, **columns: object) -> int:
    """An armed alarm whose row has these columns, as left by somebody else; times are given as spans from now."""
    obj = Scripted.objects.get_by_name(name)
    obj.storage.set_alarm(HOUR)
    at = {key: now + value if isinstance(value, timedelta) else value for key, value in columns.items()}
    Alarm.objects.filter(pk=obj.pk).update(due_at=now + due_in, scheduled_at=now + due_in, **at)
    return int(obj.pk)


#: (name, due in, columns of the row, whether a pass publishes it, whether as a rescue)
ROWS: list[tuple[str, timedelta, dict[str, object], bool, bool]] = [
    ("never published, overdue", -HOUR, {}, True, False),
    ("never published, due soon", 50 * SECOND, {}, True, False),
    ("never published, far", 70 * SECOND, {}, False, False),
    ("published just now", 5 * SECOND, {"wake_up_for": 5 * SECOND}, False, False),
    ("published, overdue within the grace", -8 * SECOND, {"wake_up_for": -8 * SECOND}, False, False),
    ("lost", -12 * SECOND, {"wake_up_for": -12 * SECOND}, True, True),
    ("lost, sent again 15 s ago", -MINUTE, {"wake_up_for": -15 * SECOND, "wake_ups_lost": 1}, False, False),
    ("lost twice", -MINUTE, {"wake_up_for": -25 * SECOND, "wake_ups_lost": 1}, True, True),
    ("lost often, four minutes ago", -HOUR, {"wake_up_for": -4 * MINUTE, "wake_ups_lost": 9}, False, False),
    ("lost often, six minutes ago", -HOUR, {"wake_up_for": -6 * MINUTE, "wake_ups_lost": 9}, True, True),
    ("running", -MINUTE, {"wake_up_for": -MINUTE, "leased_until": MINUTE, "leased_generation": 1}, False, False),
    ("left behind", -MINUTE, {"wake_up_for": None, "leased_until": -SECOND, "leased_generation": 1}, True, True),
    ("dead", -MINUTE, {"state": "dead"}, False, False),
    ("idle", -MINUTE, {"state": "idle"}, False, False),
    ("waits for its retry", 30 * SECOND, {"wake_up_for": 30 * SECOND, "retry_count": 5}, False, False),
    ("retry lost", -20 * SECOND, {"wake_up_for": -20 * SECOND, "retry_count": 3}, True, True),
]


def test_one_pass_over_rows_of_every_age(script: Script, published: list[publisher.WakeUp]) -> None:
    """A pass publishes exactly what is due soon with no wake-up out and no run going; a second one for nothing."""
    now = durable_objects.now()
    pks = {name: slot_of(name, due_in, now=now, **columns) for name, due_in, columns, *_ in ROWS}
    published.clear()
    before = {slot.pk: slot for slot in Alarm.objects.all()}
    done = dispatcher.run_pass()
    sent = {wake_up.object_id: wake_up for wake_up in published}
    assert {name for name, pk in pks.items() if pk in sent} == {name for name, *_, sends, _ in ROWS if sends}
    assert {name for name, pk in pks.items() if pk in sent and sent[pk].rescue} == {
        name for name, *_, rescue in ROWS if rescue
    }
    assert (done.published, done.rescued) == (len(published), sum(rescue for *_, rescue in ROWS))
    for slot in Alarm.objects.filter(pk__in=sent):
        old, wake_up = before[slot.pk], sent[slot.pk]
        assert (wake_up.wake_up_number, wake_up.retries) == (slot.wake_up_number, slot.retry_count)
        assert (slot.wake_up_number, slot.wake_ups_lost) == (
            (old.wake_up_number + 1, old.wake_ups_lost)
            if old.wake_up_for is None
            else (old.wake_up_number, old.wake_ups_lost + 1)
        )
        assert slot.wake_up_for is not None
        assert slot.due_at is not None
        assert slot.wake_up_for >= slot.due_at
    published.clear()
    assert dispatcher.run_pass().published == 0
    assert published == []


def statements_on_alarms(call: Callable[[], object]) -> list[str]:
    """The statements that read alarms."""
    with CaptureQueriesContext(connection) as queries:
        call()
    return [each["sql"] for each in queries if '"durable_objects_alarm"' in each["sql"]]


def test_a_pass_with_nothing_to_send_reads_alarms_once(script: Script, published: list[publisher.WakeUp]) -> None:
    """Whether any is due soon is all that is asked while none is. Else what is out, what is leased and what is there to
    be sent; no query for each kind of what is not there. One alarm that is due soon takes three more.
    """
    now = durable_objects.now()
    slot_of("far", HOUR, now=now)
    assert len(statements_on_alarms(dispatcher.run_pass)) == 1
    slot_of("soon", 50 * SECOND, now=now)
    published.clear()
    assert len(statements_on_alarms(dispatcher.run_pass)) <= 7
    assert len(published) == 1
    assert len(statements_on_alarms(dispatcher.run_pass)) == 4


def test_a_pass_orders_by_columns(script: Script, published: list[publisher.WakeUp], settings: Settings) -> None:
    """No query of a pass, of what is due, lost or ahead, orders moments by the text that is selected of them, for which
    there is no index: all that is due would be sorted to send the first thousand.
    """
    now = durable_objects.now()
    for name, due_in, columns, *_ in ROWS:
        slot_of(name, due_in, now=now, **columns)
    ordered = [sql for sql in statements_on_alarms(dispatcher.run_pass) if "ORDER BY" in sql]
    assert len(ordered) >= 5
    for sql in ordered:
        assert not re.search(r"ORDER BY (.*, )?\d", sql), sql


def test_overdue_first_and_never_more_than_there_is_capacity(
    script: Script, published: list[publisher.WakeUp], settings: Settings
) -> None:
    """A pass takes the longest overdue first, and never has more than ``MAX_OUT`` wake-ups out."""
    settings.DURABLE_OBJECTS = {"MAX_OUT": 3}
    now = durable_objects.now()
    pks = [slot_of(str(minutes), -minutes * MINUTE, now=now) for minutes in (1, 5, 3, 4, 2)]
    published.clear()
    assert dispatcher.run_pass(limit=1).published == 1
    assert dispatcher.run_pass().published == 2
    assert dispatcher.run_pass().published == 0
    assert [wake_up.object_id for wake_up in published] == [pks[1], pks[3], pks[2]]
    fire(pks[1], published[0].wake_up_number)
    assert dispatcher.run_pass().published == 1


def test_pass_after_pass_is_one_and_the_same_statement(script: Script, published: list[publisher.WakeUp]) -> None:
    """What each pass sends is marked, also by a statement that the connection has prepared meanwhile."""
    for turn in range(10):
        slot_of(str(turn), -SECOND, now=durable_objects.now())
        assert dispatcher.run_pass().published == 1
    assert Alarm.objects.filter(wake_up_for=None).count() == 0
    assert len({wake_up.object_id for wake_up in published}) == 10


def test_many_dispatchers_at_once_publish_once_each(script: Script, published: list[publisher.WakeUp]) -> None:
    """Dispatchers that pass at one moment take rows that no other has."""
    now = durable_objects.now()
    pks = [slot_of(str(number), -MINUTE, now=now) for number in range(20)]
    published.clear()
    run_in_threads(4, lambda number: dispatcher.run_pass())
    assert sorted(wake_up.object_id for wake_up in published) == sorted(pks)


def test_every_alarm_runs_though_every_message_is_lost(script: Script, published: list[publisher.WakeUp]) -> None:
    """The row is the truth: a wake-up that was lost is sent again under its number, and the alarm runs once."""
    pk = slot_of("a", -12 * SECOND, now=durable_objects.now(), wake_up_for=-12 * SECOND)
    lost = Alarm.objects.get()
    published.clear()
    dispatcher.run_pass()
    [again] = published
    assert (again.wake_up_number, again.rescue) == (lost.wake_up_number, True)
    assert fire(pk, again.wake_up_number, rescue=True).verdict is Verdict.SUCCEEDED
    assert fire(pk, lost.wake_up_number).verdict is Verdict.DROPPED
    assert len(script.infos) == 1


def test_death_between_mark_and_message_is_made_up_for(script: Script, published: list[publisher.WakeUp]) -> None:
    """A dispatcher that dies before it published leaves rows that count as lost later on."""
    slot_of("a", -MINUTE, now=durable_objects.now())
    published.clear()
    with crash_at("dispatch.marked"), pytest.raises(SimulatedCrash):
        dispatcher.run_pass()
    assert published == []
    Alarm.objects.update(wake_up_for=durable_objects.now() - 11 * SECOND)
    assert dispatcher.run_pass().published == 1


def test_a_pass_that_would_not_be_sent_marks_nothing(
    clock: FakeClock, script: Script, published: list[publisher.WakeUp]
) -> None:
    """Where nothing can be published nothing is marked as out."""
    slot_of("a", -MINUTE, now=clock.now())
    assert dispatcher.run_pass().published == 0
    assert Alarm.objects.get().wake_up_for is None


def test_unknown_classes_are_left_alone(
    script: Script, published: list[publisher.WakeUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alarms of a class that this code lacks are not published, and a class not migrated yet stops nobody else's."""
    now = durable_objects.now()
    parked, known = slot_of("parked", -MINUTE, now=now), slot_of("known", -MINUTE, now=now)
    make_of(ContentType.objects.create(app_label="tests", model="gone"), pk=parked)
    monkeypatch.setattr(Counter._meta, "model_name", "unmigrated")
    published.clear()
    dispatcher.run_pass()
    assert [wake_up.object_id for wake_up in published] == [known]
    Object.objects.all().delete()
    ContentType.objects.filter(model="gone").delete()


def test_forgotten_wake_ups_are_published_again(script: Script, published: list[publisher.WakeUp]) -> None:
    """When the only worker starts with an empty broker, what was out and what ran before is published at once."""
    now = durable_objects.now()
    wanted = {
        slot_of("out", 5 * SECOND, now=now, wake_up_for=5 * SECOND),
        slot_of("overdue", -SECOND, now=now, wake_up_for=-SECOND),
        slot_of("ran", -MINUTE, now=now, wake_up_for=-MINUTE, leased_until=MINUTE, leased_generation=1),
        slot_of("often lost", -MINUTE, now=now, wake_up_for=-SECOND, wake_ups_lost=9),
    }
    published.clear()
    assert dispatcher.run_pass().published == 0
    dispatcher.forget_wake_ups()
    dispatcher.run_pass()
    assert {wake_up.object_id for wake_up in published} == wanted


def test_runs_of_living_processes_are_left_alone(script: Script, published: list[publisher.WakeUp]) -> None:
    """A start ends the leases of processes that are certainly gone, at once, and of no others: these run out."""
    now = durable_objects.now()
    host = process.name().rpartition(":")[0]
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    names = {
        "before": process.name(), "ended": f"{host}:{ended.pid}", "alive": f"{host}:{os.getppid()}",
        "elsewhere": "another-host:1", "like ours elsewhere": f"another-host:{os.getpid()}",
    }  # fmt: skip
    leased = {"wake_up_for": None, "leased_until": MINUTE, "leased_generation": 1}
    pks = {name: slot_of(name, -MINUTE, now=now, **leased, leased_by=by) for name, by in names.items()}
    published.clear()
    dispatcher.forget_wake_ups()
    dispatcher.run_pass()
    assert {wake_up.object_id for wake_up in published} == {pks["before"], pks["ended"]}


def test_a_living_dispatchers_wake_ups_keep_their_number(script: Script, published: list[publisher.WakeUp]) -> None:
    """Beside another one that passes, what is out is sent by both, under one number, so that it runs wherever first."""
    now = durable_objects.now()
    row = Dispatcher.objects.create(process="another-host:1", started_at=now, last_pass_at=now)
    slot_of("waits", 5 * SECOND, now=now, wake_up_for=5 * SECOND, wake_up_number=7)
    slot_of("due", -SECOND, now=now, wake_up_for=-SECOND, wake_up_number=7)
    published.clear()
    dispatcher.forget_wake_ups()
    dispatcher.run_pass()
    assert [wake_up.wake_up_number for wake_up in published] == [7, 7]
    assert processes.others(now) == ["another-host:1"]
    row.delete()


def test_history_is_bounded_but_the_last_dead_run_is_kept(
    clock: FakeClock, script: Script, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs are pruned past ``HISTORY_PER_OBJECT`` and ``HISTORY_FOR``, of each object but its last dead one."""
    settings.DURABLE_OBJECTS = {"HISTORY_PER_OBJECT": 3, "HISTORY_FOR": timedelta(days=2)}
    old, busy = Scripted.objects.get_by_name("old"), Scripted.objects.get_by_name("busy")
    for obj in (old, busy):
        for _ in range(5):
            obj.storage.set_alarm(clock.now())
            run_due_alarms()
    dead = [run.pk for run in AlarmRun.objects.filter(object_id=old.pk).order_by("pk")][:2]
    AlarmRun.objects.filter(pk__in=dead).update(outcome="dead")
    AlarmRun.objects.filter(object_id=old.pk).update(ended_at=clock.now() - timedelta(days=3))
    newest = list(AlarmRun.objects.filter(object_id=busy.pk).order_by("-pk").values_list("pk", flat=True)[:3])
    prune_anew(monkeypatch)
    assert dispatcher.run_pass().pruned == 6
    assert dispatcher.run_pass().pruned == 0
    assert list(AlarmRun.objects.filter(object_id=old.pk).values_list("pk", flat=True)) == dead[1:]
    assert list(AlarmRun.objects.filter(object_id=busy.pk).order_by("-pk").values_list("pk", flat=True)) == newest


@pytest.mark.parametrize("at_once", [2, 20], ids=["small steps", "all in one step"])
def test_pruning_that_was_not_done_in_its_time_goes_on_in_the_next_pass(
    clock: FakeClock, script: Script, settings: Settings, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """However little of it one pass does, the passes get through all of it, and then wait for the next minute."""
    settings.DURABLE_OBJECTS = {"HISTORY_PER_OBJECT": 2}
    objects = [Scripted.objects.get_by_name(f"o{number}") for number in range(4)]
    for obj in objects * 5:
        obj.storage.set_alarm(clock.now())
        run_due_alarms()
    prune_anew(monkeypatch)
    monkeypatch.setattr(dispatcher, "PRUNE_FOR", 0)
    monkeypatch.setattr(history, "AT_ONCE", at_once)
    monkeypatch.setattr(history, "OBJECTS_AT_ONCE", 2)
    pruned = [dispatcher.run_pass().pruned for _ in range(20)]
    assert sum(pruned) == 12
    assert max(pruned) < 12
    for obj in objects:
        assert AlarmRun.objects.filter(object_id=obj.pk).count() == 2
    obj.storage.set_alarm(clock.now())
    run_due_alarms()
    assert dispatcher.run_pass().pruned == 0


def test_surplus_runs_of_many_objects_are_pruned_by_a_few_statements(
    clock: FakeClock, script: Script, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pruning asks of the database does not grow with the objects that have one run too many."""
    settings.DURABLE_OBJECTS = {"HISTORY_PER_OBJECT": 1}
    statements = []
    for count in (2, 12):
        for number in range(count):
            for _ in range(2):
                Scripted.objects.get_by_name(f"of {count}: {number}").storage.set_alarm(clock.now())
                run_due_alarms()
        prune_anew(monkeypatch)
        with CaptureQueriesContext(connection) as captured:
            assert dispatcher._prune() == count
        statements.append(len(captured))
    assert statements[0] == statements[1]


def prune_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next pass prunes, as that of a new process does."""
    monkeypatch.setattr(dispatcher, "_last_pruned", dispatcher.NEVER)
    monkeypatch.setattr(dispatcher, "_pruning", history.Pruning())
