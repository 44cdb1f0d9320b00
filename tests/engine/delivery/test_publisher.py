"""A wake-up is published after the commit, once, for what is due soon; the broker's trouble is never the caller's."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import NoReturn

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from durable_objects.delivery import dispatcher, publisher
from durable_objects.tables import Alarm
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at
from tests.models import Counter, Script, Scripted

pytestmark = pytest.mark.django_db(transaction=True)

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def test_publishes_after_the_commit_and_not_before(obj: Scripted, published: list[publisher.WakeUp]) -> None:
    """A wake-up is published when the caller's transaction has committed, with what the row says."""
    with transaction.atomic():
        obj.storage.set_alarm(10 * SECOND)
        assert published == []
        slot = Alarm.objects.get()
    [wake_up] = published
    assert (wake_up.object_id, wake_up.wake_up_number, wake_up.at) == (slot.pk, slot.wake_up_number, slot.due_at)
    assert (wake_up.retries, wake_up.rescue) == (0, False)
    assert slot.wake_up_for == slot.due_at


def test_does_not_publish_what_was_rolled_back(obj: Scripted, published: list[publisher.WakeUp]) -> None:
    """A transaction, or a block of it, that is undone publishes nothing."""

    @transaction.atomic
    def set_in_vain() -> None:
        obj.storage.set_alarm(10 * SECOND)
        raise KeyError

    with pytest.raises(KeyError):
        set_in_vain()
    with transaction.atomic():
        with pytest.raises(KeyError):
            set_in_vain()
        Counter.objects.get_by_name("b").add()
    assert published == []
    assert not Alarm.objects.exists()


@pytest.mark.parametrize(
    ("times", "messages"),
    [
        ([10], 1),
        ([10, 20, 10, 15], 1),  # one that comes early is put off
        ([20, 10, 5], 3),  # each earlier than what is out
        ([3600], 0),
        ([3600, 10], 1),
    ],
)
def test_publishes_only_where_no_wake_up_out_would_do(
    obj: Scripted, published: list[publisher.WakeUp], times: list[int], messages: int
) -> None:
    """Far alarms wait as rows; a wake-up that is out at or before the due time is not sent again."""
    for seconds in times:
        obj.storage.set_alarm(seconds * SECOND)
    assert len(published) == messages
    numbers = [wake_up.wake_up_number for wake_up in published]
    assert numbers == sorted(set(numbers))


def test_turns_that_leave_the_alarm_alone_do_not_publish(obj: Scripted, published: list[publisher.WakeUp]) -> None:
    """Many calls on an object with an alarm send no more messages."""
    obj.storage.set_alarm(10 * SECOND)
    for number in range(5):
        obj.storage.put("k", number)
    assert len(published) == 1


def test_one_turn_publishes_once(obj: Scripted, published: list[publisher.WakeUp]) -> None:
    """Only what stands at the end of a turn is published."""
    with obj.storage.transaction():
        obj.storage.set_alarm(5 * SECOND)
        obj.storage.delete_alarm()
        obj.storage.set_alarm(10 * SECOND)
    assert [wake_up.at for wake_up in published] == [obj.storage.get_alarm()]


def test_broker_trouble_never_reaches_the_caller(
    obj: Scripted, published: list[publisher.WakeUp], caplog: pytest.LogCaptureFixture
) -> None:
    """A wake-up that cannot be sent is logged and marked as not sent; while the break lasts nobody tries again."""
    tried = []

    def refuse(wake_up: publisher.WakeUp) -> NoReturn:
        tried.append(wake_up)
        raise ConnectionRefusedError("no broker")

    publisher.register(refuse, lambda: False)
    obj.storage.set_alarm(10 * SECOND)
    assert obj.storage.get_alarm() is not None
    assert Alarm.objects.get().wake_up_for is None
    assert "no broker" in caplog.text
    Scripted.objects.get_by_name("b").storage.set_alarm(10 * SECOND)
    assert len(tried) == 1
    assert not Alarm.objects.exclude(wake_up_for=None).exists()


def test_broker_trouble_does_not_keep_other_hooks_from_running(
    obj: Scripted, published: list[publisher.WakeUp]
) -> None:
    """The caller's own ``on_commit`` hooks run whatever becomes of the wake-up."""

    def refuse(wake_up: publisher.WakeUp) -> NoReturn:
        raise ConnectionRefusedError

    publisher.register(refuse, lambda: False)
    called = []
    with transaction.atomic():
        obj.storage.set_alarm(10 * SECOND)
        transaction.on_commit(lambda: called.append("own"))
    assert called == ["own"]


def test_private_broker_without_a_worker_is_not_used(obj: Scripted, published: list[publisher.WakeUp]) -> None:
    """A message that nobody else could consume is not sent and not marked; with a worker in the process it is."""
    publisher.register(published.append, lambda: True)
    obj.storage.set_alarm(10 * SECOND)
    assert (published, Alarm.objects.get().wake_up_for) == ([], None)
    publisher.worker_started()
    obj.storage.put("any", "turn")
    assert len(published) == 1
    publisher.worker_stopped()
    obj.storage.set_alarm(5 * SECOND)
    assert len(published) == 1


def test_moved_earlier_by_a_process_that_cannot_publish(obj: Scripted, published: list[publisher.WakeUp]) -> None:
    """A wake-up that is out for later does not hide the alarm from the dispatcher until then."""
    obj.storage.set_alarm(50 * SECOND)
    publisher.register(published.append, lambda: True)
    obj.storage.set_alarm(timedelta(0))
    publisher.register(published.append, lambda: False)
    dispatcher.run_pass()
    assert [wake_up.wake_up_number for wake_up in published] == [1, 2]


def test_nothing_is_published_while_the_clock_is_fake(
    clock: FakeClock, obj: Scripted, published: list[publisher.WakeUp]
) -> None:
    """Under a ``FakeClock`` no message leaves, and none is marked."""
    obj.storage.set_alarm(SECOND)
    assert (published, Alarm.objects.get().wake_up_for) == ([], None)


def test_death_before_the_message_leaves_a_marked_row(
    obj: Scripted, script: Script, published: list[publisher.WakeUp]
) -> None:
    """A process that dies between commit and message leaves the alarm armed, for the dispatcher to find."""
    with crash_at("bell.before_publish"), pytest.raises(SimulatedCrash):
        obj.storage.set_alarm(SECOND)
    slot = Alarm.objects.get()
    assert (published, slot.state, slot.wake_up_number) == ([], "armed", 1)
    assert slot.wake_up_for == slot.due_at


def test_what_a_transaction_spends_on_messages_is_bounded(
    script: Script, published: list[publisher.WakeUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many alarms one transaction sets and however slow the broker is, its caller waits for a bounded time."""
    monkeypatch.setattr(publisher, "SECONDS_AFTER_COMMIT", 0.3)
    sent: list[publisher.WakeUp] = []

    def slow(wake_up: publisher.WakeUp) -> None:
        time.sleep(0.05)
        sent.append(wake_up)

    publisher.register(slow, lambda: False)
    with transaction.atomic():
        for number in range(60):
            Scripted.objects.get_by_name(f"o{number}").storage.set_alarm(10 * SECOND)
        committed = time.monotonic()
        transaction.on_commit(lambda: None)
    took = time.monotonic() - committed
    assert 1 <= len(sent) <= 7
    assert took < 10, f"{took:.1f} s for {len(sent)} messages"
    assert Alarm.objects.exclude(wake_up_for=None).count() == len(sent)
    publisher.register(published.append, lambda: False)
    assert dispatcher.run_pass().published == 60 - len(sent)
    assert len({wake_up.object_id for wake_up in sent + published}) == 60


def test_a_transaction_after_another_has_its_own_time(
    script: Script, published: list[publisher.WakeUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one transaction has spent is not taken from the next one, nor what one that was undone would have."""
    monkeypatch.setattr(publisher, "SECONDS_AFTER_COMMIT", 0.0)
    for name in "abc":
        Scripted.objects.get_by_name(name).storage.set_alarm(10 * SECOND)

    @transaction.atomic
    def set_in_vain() -> None:
        Scripted.objects.get_by_name("d").storage.set_alarm(10 * SECOND)
        raise KeyError

    with pytest.raises(KeyError):
        set_in_vain()
    Scripted.objects.get_by_name("e").storage.set_alarm(10 * SECOND)
    assert len(published) == 4


@pytest.mark.parametrize("refused", [True, False], ids=["refusing broker", "well"])
def test_many_alarms_in_one_transaction_leave_most_to_the_dispatcher(
    script: Script, published: list[publisher.WakeUp], monkeypatch: pytest.MonkeyPatch, *, refused: bool
) -> None:
    """Beyond a number of alarms nothing is marked or taken back one by one: after the commit few statements follow."""
    monkeypatch.setattr(publisher, "MOST_AFTER_COMMIT", 20)
    if refused:
        publisher.register(refuse, lambda: False)
    with CaptureQueriesContext(connection) as captured:
        with transaction.atomic():
            for number in range(60):
                Scripted.objects.get_by_name(f"o{number}").storage.set_alarm(10 * SECOND)
            before = len(captured)
        after = len(captured) - before
    assert after <= 20 * 5
    assert len(published) <= 20
    assert Alarm.objects.exclude(wake_up_for=None).count() == len(published)
    monkeypatch.setattr(publisher, "_publisher", publisher._Publisher())
    publisher.register(published.append, lambda: False)
    dispatcher.run_pass()
    assert len({wake_up.object_id for wake_up in published}) == 60


def test_alarms_set_at_once_are_taken_back_at_once(script: Script, published: list[publisher.WakeUp]) -> None:
    """``set_alarms`` with a broker that refuses takes all marks back by a few statements."""
    publisher.register(refuse, lambda: False)
    with CaptureQueriesContext(connection) as captured:
        Scripted.objects.set_alarms({f"o{number}": 10 * SECOND for number in range(300)})
    assert len(captured) < 50
    assert Alarm.objects.filter(state="armed", wake_up_for=None).count() == 300


def refuse(wake_up: publisher.WakeUp) -> NoReturn:
    """A broker that is not there."""
    raise ConnectionRefusedError("no broker")
