"""Digests that fail, are refused, killed, deleted or late: nothing is lost or doubled by them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest

from durable_objects.operations import actions
from durable_objects.tables import Alarm
from durable_objects.testing import FakeClock, SimulatedCrash, run_due_alarms
from reminders import channels
from reminders.channels import Message, Refused, TryLater
from reminders.digests import Digest
from reminders.models import Delivery, Plan, Recipient, Reminder
from tests.support.passing_time import outcomes, pass_time
from tests.support.reminders_of_ada import remind, state_of, texts
from tests.support.sent_messages import Sent

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
RETRIES = [timedelta(seconds=seconds) for seconds in (2, 4, 8, 16, 32, 64)]
CrashAt = Callable[[str], AbstractContextManager[None]]


def fail(message: Message) -> None:
    raise OSError("post office closed")


def test_a_retry_has_the_same_key_and_nothing_new(ada: Recipient, alarm_clock: FakeClock, sent: Sent) -> None:
    """What came due after the first try is in the next digest, or a receiver that has seen the key would lose it; what
    was cancelled after it is not sent again.
    """
    tea, _, cake = (remind(name, alarm_clock.now()) for name in ("tea", "milk", "cake"))
    pass_time(alarm_clock)
    sent.act = fail
    assert outcomes(alarm_clock, HOUR) == ["failed"]
    for name in ("salt", "rice"):
        remind(name, alarm_clock.now())
    cake.cancel()
    assert outcomes(alarm_clock, RETRIES[0]) == ["succeeded", "succeeded", "failed"]
    sent.act = None
    assert outcomes(alarm_clock, RETRIES[1]) == ["succeeded"]
    assert [texts(message) for message in sent] == [["cake!", "milk!", "tea!"], ["milk!", "tea!"], ["milk!", "tea!"]]
    assert len({message.key for message in sent}) == 1
    assert {row.attempts for row in Delivery.objects.filter(reminder_id=tea.pk)} == {3}
    pass_time(alarm_clock, HOUR)
    assert texts(sent[-1]) == ["rice!", "salt!"]
    assert sent[-1].key != sent[0].key
    assert not Plan.objects.filter(state="set").exists()


def test_what_a_digest_cannot_deliver_each_reminder_delivers(
    ada: Recipient, alarm_clock: FakeClock, sent: Sent
) -> None:
    """After the retries of a digest each of its reminders is tried by itself, under its own key; a single one that
    fails there too keeps a dead alarm, a series goes on.
    """
    tea, milk = remind("tea", alarm_clock.now()), remind("milk", alarm_clock.now(), recurrence="FREQ=DAILY")
    start = alarm_clock.now()
    pass_time(alarm_clock)
    sent.act = fail
    seen = outcomes(alarm_clock, HOUR)
    for pause in RETRIES:
        seen += outcomes(alarm_clock, pause)
    assert seen[:7] == ["failed"] * 6 + ["dead"]
    for pause in RETRIES:
        outcomes(alarm_clock, pause)
    assert [texts(message) for message in sent[:7]] == [["milk!", "tea!"]] * 7
    assert sorted(texts(message)[0] for message in sent[7:]) == ["<milk!>"] * 7 + ["<tea!>"] * 7
    assert Alarm.objects.get(object_id=tea.pk).state == "dead"
    assert milk.storage.get_alarm() == start + DAY
    sent.act = None
    actions.revive(tea)
    pass_time(alarm_clock)
    row = Delivery.objects.get(reminder_id=tea.pk)
    assert (row.status, row.attempts, row.digest, str(row.key)) == ("delivered", 15, None, sent[0].items[1].key)
    assert Digest.objects.get_by_name("ada").storage.list() == {}


def test_a_digest_that_is_refused_takes_no_reminder_along(ada: Recipient, alarm_clock: FakeClock, sent: Sent) -> None:
    """What a receiver refuses as a digest each reminder delivers by itself: one bad one is refused alone."""

    def refuse(message: Message) -> None:
        if "milk" in message.text:
            raise Refused("no milk today")

    sent.act = refuse
    for name in ("tea", "milk", "cake"):
        remind(name, alarm_clock.now())
    pass_time(alarm_clock)
    pass_time(alarm_clock, HOUR)
    assert sorted(texts(message) for message in sent) == [
        ["<cake!>"], ["<milk!>"], ["<tea!>"], ["cake!", "milk!", "tea!"]
    ]  # fmt: skip
    assert dict(Delivery.objects.values_list("message", "status")) == {
        "tea!": "delivered", "milk!": "refused", "cake!": "delivered"
    }  # fmt: skip


def test_each_channel_has_a_digest_with_an_outcome_of_its_own(
    ada: Recipient, alarm_clock: FakeClock, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message by each channel has the reminders that go there. One that fails is tried again alone, and reminders
    that are delivered do not wait for it.
    """
    other = Sent()
    monkeypatch.setitem(channels._channels, "other", other)
    failures = iter([OSError("no answer")])

    def fail_once(message: Message) -> None:
        for failure in failures:
            raise failure

    other.act = fail_once
    tea = remind("tea", alarm_clock.now())
    both = remind("both", alarm_clock.now(), channels=["log", "other"])
    pass_time(alarm_clock)
    assert outcomes(alarm_clock, HOUR) == ["failed"]
    assert (tea.get_reminder(), state_of(both)) == (None, ("set", "digest"))
    assert outcomes(alarm_clock, RETRIES[0]) == ["succeeded"]
    assert [texts(message) for message in sent] == [["both!", "tea!"]]
    assert [texts(message) for message in other] == [["both!"]] * 2
    assert both.get_reminder() is None


def test_a_digest_that_cannot_be_tried_costs_no_retry(ada: Recipient, alarm_clock: FakeClock, sent: Sent) -> None:
    """Without a thread to spare it is looked at again later, under its key."""

    def later(message: Message) -> None:
        if len(sent) < 10:
            raise TryLater(after=5 * MINUTE)

    sent.act = later
    for name in ("tea", "milk"):
        remind(name, alarm_clock.now())
    pass_time(alarm_clock)
    pass_time(alarm_clock, HOUR)
    for _ in range(9):
        pass_time(alarm_clock, 5 * MINUTE)
    assert len({message.key for message in sent}) == 1
    assert {(row.status, row.attempts) for row in Delivery.objects.all()} == {("delivered", 1)}


@pytest.mark.usefixtures("ada")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("point", "times"),
    [
        ("firing.before_handler", 1),
        ("reminders.sent", 2),
        ("reminders.digest_on_record", 1),
        ("reminders.digest_sent", 1),
        ("turn.before_commit", 1),
        ("turn.after_commit", 1),
    ],
)
def test_a_crash_at_any_point_loses_and_doubles_nothing(
    alarm_clock: FakeClock, sent: Sent, crash_at: CrashAt, point: str, times: int
) -> None:
    """Wherever the process of a digest dies, all of its reminders come in one message and go on once. Only a crash
    between the sending and its record sends that again, under its key.
    """
    start = alarm_clock.now()
    tea, milk = remind("tea", start), remind("milk", start, recurrence="FREQ=DAILY;COUNT=2")
    pass_time(alarm_clock)
    alarm_clock.advance(HOUR)
    with crash_at(point), pytest.raises(SimulatedCrash):
        run_due_alarms()
    for _ in range(5):
        outcomes(alarm_clock, MINUTE)
    assert [texts(message) for message in sent] == [["milk!", "tea!"]] * times
    assert len({message.key for message in sent}) == 1
    assert {(row.status, row.attempts) for row in Delivery.objects.all()} == {("delivered", times)}
    assert (tea.get_reminder(), milk.storage.get_alarm()) == (None, start + DAY)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("point", ["firing.after_handler", "turn.before_commit", "turn.after_commit"])
def test_a_crash_while_one_joins_a_digest(
    ada: Recipient, alarm_clock: FakeClock, sent: Sent, crash_at: CrashAt, point: str
) -> None:
    """Reminder and digest have it in one transaction, or neither does and it is tried again: it comes once."""
    for name in ("tea", "milk"):
        remind(name, alarm_clock.now())
    with crash_at(point), pytest.raises(SimulatedCrash):
        run_due_alarms()
    for _ in range(3):
        outcomes(alarm_clock, MINUTE)
    outcomes(alarm_clock, HOUR)
    assert [texts(message) for message in sent] == [["milk!", "tea!"]]


@pytest.mark.parametrize("lost", ["deleted", "cancelled", "cancelled while it failed", "dead"])
def test_reminders_outlive_their_digest(ada: Recipient, alarm_clock: FakeClock, sent: Sent, lost: str) -> None:
    """Where somebody deletes the digest, or its alarm, or it died, its reminders join again an hour after its time."""
    tea, _ = (remind(name, alarm_clock.now()) for name in ("tea", "milk"))
    pass_time(alarm_clock)
    if lost == "cancelled while it failed":
        sent.act = fail
        assert outcomes(alarm_clock, HOUR) == ["failed"]
        alarm_clock.advance(-HOUR)
        sent.act = None
        sent.clear()
    digest = Digest.objects.get_by_name("ada")
    if lost == "deleted":
        Digest.objects.all().delete()
    elif lost == "dead":
        Alarm.objects.filter(object__name="ada").update(state=Alarm.State.DEAD, due_at=None, wake_up_for=None)
    else:
        actions.cancel(digest)
    pass_time(alarm_clock, 2 * HOUR - MINUTE)
    assert sent == []
    pass_time(alarm_clock, MINUTE)
    pass_time(alarm_clock, MINUTE)
    assert [texts(message) for message in sent] == [["milk!", "tea!"]]
    assert (tea.get_reminder(), digest.storage.list(), digest.storage.get_alarm()) == (None, {}, None)


def test_what_is_not_worth_it_any_more_is_skipped(ada: Recipient, alarm_clock: FakeClock, sent: Sent) -> None:
    """After an outage at the digest's time, what would be too late then is on record as that; the others come."""
    for name, late in (("tea", None), ("milk", 2 * HOUR), ("cake", None)):
        remind(name, alarm_clock.now(), skip_if_late=late)
    pass_time(alarm_clock)
    for plan in Plan.objects.all():  # which do not join again by themselves here
        Reminder.objects.get_by_name(plan.message.strip("!")).storage.set_alarm(alarm_clock.now() + 9 * HOUR)
    pass_time(alarm_clock, HOUR + 3 * HOUR)
    pass_time(alarm_clock)
    assert [texts(message) for message in sent] == [["cake!", "tea!"]]
    assert [item.late for item in sent[0].items] == [3 * HOUR] * 2
    assert dict(Delivery.objects.values_list("message", "status"))["milk!"] == "skipped"
