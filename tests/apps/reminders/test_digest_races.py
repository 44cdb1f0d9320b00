"""Digests beside what is done to their reminders: set again, snoozed, edited or delivered at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

import pytest

from durable_objects.execution.executor import fire
from durable_objects.operations import actions, pauses
from durable_objects.tables import Object
from durable_objects.testing import FakeClock
from reminders import channels, digests
from reminders.channels import Message, Refused
from reminders.digests import Digest
from reminders.models import Plan, Recipient
from tests.support.passing_time import outcomes, pass_time
from tests.support.reminders_of_ada import remind, state_of, texts
from tests.support.sent_messages import Sent
from tests.support.threads import run_in_threads

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
RETRIES = [timedelta(seconds=seconds) for seconds in (2, 4, 8, 16, 32, 64)]
CrashAt = Callable[[str], AbstractContextManager[None]]


def fail(message: Message) -> None:
    raise OSError("post office closed")


def test_reminders_whose_digest_is_late_wait_for_it(ada: Recipient, alarm_clock: FakeClock, sent: Sent) -> None:
    """After an outage they are due beside their digest, whichever runs first, and are sent once, together."""
    for name in ("tea", "milk"):
        remind(name, alarm_clock.now())
    pass_time(alarm_clock)
    alarm_clock.advance(5 * HOUR)
    for plan in Plan.objects.all():
        assert fire(plan.pk).verdict.name == "SUCCEEDED"
    for _ in range(3):
        outcomes(alarm_clock, MINUTE)
    assert [texts(message) for message in sent] == [["milk!", "tea!"]]


def test_delivered_now_it_leaves_the_digest(ada: Recipient, alarm_clock: FakeClock, sent: Sent) -> None:
    """Whoever has a waiting reminder delivered now gets it by itself, and the digest has the others."""
    tea, _, _ = (remind(name, alarm_clock.now()) for name in ("tea", "milk", "cake"))
    pass_time(alarm_clock)
    actions.fire_now(tea)
    pass_time(alarm_clock)
    pass_time(alarm_clock, HOUR)
    assert [texts(message) for message in sent] == [["<tea!>"], ["cake!", "milk!"]]


@pytest.mark.django_db(transaction=True)
def test_delivered_now_while_its_digest_is_sent(ada: Recipient, alarm_clock: FakeClock, sent: Sent) -> None:
    """A reminder that is being sent in a digest is not sent beside it: its own alarm looks again a minute later."""
    tea, _ = (remind(name, alarm_clock.now()) for name in ("tea", "milk"))
    pass_time(alarm_clock)
    verdicts = []

    def deliver_now(message: Message) -> None:
        actions.fire_now(tea)
        verdicts.append(fire(tea.pk).verdict.name)

    sent.act = deliver_now
    pass_time(alarm_clock, HOUR)
    for _ in range(3):
        outcomes(alarm_clock, MINUTE)
    assert ([texts(message) for message in sent], verdicts) == ([["milk!", "tea!"]], ["SUCCEEDED"])
    assert tea.get_reminder() is None


def test_one_that_is_set_again_while_its_digest_is_tried(ada: Recipient, alarm_clock: FakeClock, sent: Sent) -> None:
    """It is another reminder by then: it waits for the next digest, and the one that is being retried is without it."""
    for name in ("tea", "milk", "cake"):
        remind(name, alarm_clock.now())
    pass_time(alarm_clock)
    sent.act = fail
    assert outcomes(alarm_clock, HOUR) == ["failed"]
    sent.act = None
    remind("tea", alarm_clock.now())
    pass_time(alarm_clock, RETRIES[0])
    remind("rice", alarm_clock.now())
    pass_time(alarm_clock)
    pass_time(alarm_clock, HOUR)
    assert [texts(message) for message in sent[1:]] == [["cake!", "milk!"], ["tea!", "rice!"]]


def test_snoozed_while_its_digest_is_refused(ada: Recipient, alarm_clock: FakeClock, sent: Sent) -> None:
    """It comes when the snooze says, though those that were in the refused digest come by themselves now."""
    tea, _ = (remind(name, alarm_clock.now()) for name in ("tea", "milk"))
    pass_time(alarm_clock)

    def snooze_and_refuse(message: Message) -> None:
        if message.items:
            tea.snooze(HOUR)
            raise Refused("no digests")

    sent.act = snooze_and_refuse
    pass_time(alarm_clock, HOUR)
    assert [texts(message) for message in sent] == [["milk!", "tea!"], ["<milk!>"]]
    assert state_of(tea) == ("set", "snoozed")
    pass_time(alarm_clock, HOUR)
    assert texts(sent[-1]) == ["<tea!>"]


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("moment", ["while it is sent", "before it goes on"])
def test_snoozed_while_its_digest_is_delivered(
    alarm_clock: FakeClock, sent: Sent, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """A snooze that comes before the reminder has gone on stands, to the last moment; then the series goes on."""
    start = alarm_clock.now()
    tea, _ = (remind(name, start, recurrence="FREQ=DAILY") for name in ("tea", "milk"))
    pass_time(alarm_clock)
    following = Plan.following

    def snoozed(plan: Plan, after: datetime) -> Any:
        monkeypatch.setattr(Plan, "following", following)
        tea.snooze(20 * MINUTE)
        return following(plan, after)

    if moment == "before it goes on":
        sent.act = lambda message: message.items and monkeypatch.setattr(Plan, "following", snoozed)
    else:
        sent.act = lambda message: len(sent) == 1 and tea.snooze(20 * MINUTE)
    pass_time(alarm_clock, HOUR)
    assert state_of(tea) == ("set", "snoozed")
    pass_time(alarm_clock, 20 * MINUTE)
    assert texts(sent[-1]) == ["<tea!>"]
    assert tea.storage.get_alarm() == start + DAY


def test_for_somebody_else_while_its_digest_is_tried(
    ada: Recipient, alarm_clock: FakeClock, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one person got of it by one channel is not what the other one gets: that is another delivery."""
    other = Sent()
    other.act = fail
    monkeypatch.setitem(channels._channels, "other", other)
    tea, _ = (remind(name, alarm_clock.now(), channels=["log", "other"]) for name in ("tea", "milk"))
    pass_time(alarm_clock)
    assert outcomes(alarm_clock, HOUR) == ["failed"]
    other.act = None
    tea.edit_reminder(person="bob")
    pass_time(alarm_clock)
    assert [(message.person, texts(message)) for message in sent] == [("ada", ["milk!", "tea!"]), ("bob", ["<tea!>"])]
    assert sent[1].key != sent[0].items[1].key
    pass_time(alarm_clock, RETRIES[0])
    assert [(message.person, texts(message)) for message in other[1:]] == [("bob", ["<tea!>"]), ("ada", ["milk!"])]


def test_what_is_paused_takes_nobodys_place(
    ada: Recipient, alarm_clock: FakeClock, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are paused, the others come in one message, and no digest is made of nothing again and again."""
    monkeypatch.setattr(digests, "AT_MOST", 2)
    reminders = [remind(name, alarm_clock.now()) for name in ("a", "b", "c", "d", "e")]
    pass_time(alarm_clock)
    for each in reminders[:3]:
        pauses.pause(Object.objects.get(pk=each.pk))
    pass_time(alarm_clock, HOUR)
    assert [texts(message) for message in sent] == [["d!", "e!"]]
    assert Digest.objects.get_by_name("ada").storage.get_alarm() is None


@pytest.mark.parametrize("when", ["before", "while it is retried"])
def test_what_is_paused_is_in_no_digest(ada: Recipient, alarm_clock: FakeClock, sent: Sent, when: str) -> None:
    """Nothing of a paused reminder is sent, by a digest neither; resumed, it joins again, and is late."""
    tea, _, _ = (remind(name, alarm_clock.now()) for name in ("tea", "milk", "cake"))
    pass_time(alarm_clock)
    if when == "while it is retried":
        sent.act = fail
        assert outcomes(alarm_clock, HOUR) == ["failed"]
        sent.clear()
        sent.act = None
    pauses.pause(Object.objects.get(pk=tea.pk))
    pass_time(alarm_clock, HOUR)
    pass_time(alarm_clock, 2 * HOUR)
    assert [texts(message) for message in sent] == [["cake!", "milk!"]]
    pauses.resume(Object.objects.get(pk=tea.pk))
    pass_time(alarm_clock)
    pass_time(alarm_clock, MINUTE)
    assert texts(sent[-1]) == ["<tea!>"]
    assert tea.get_reminder() is None


def test_a_retry_of_a_reminder_asks_its_digest_too(
    ada: Recipient, alarm_clock: FakeClock, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that failed before it knew is no reason to deliver what the digest delivers."""
    tea, _ = (remind(name, alarm_clock.now()) for name in ("tea", "milk"))
    pass_time(alarm_clock)

    def deliver_now(message: Message) -> None:
        actions.fire_now(tea)
        with monkeypatch.context() as patch:
            patch.setattr(Digest, "lets_go", lambda self, key: 1 / 0)
            assert fire(tea.pk).verdict.name == "FAILED"
        alarm_clock.advance(RETRIES[0])
        assert fire(tea.pk).verdict.name == "SUCCEEDED"

    sent.act = deliver_now
    outcomes(alarm_clock, HOUR)
    outcomes(alarm_clock, MINUTE)
    assert [texts(message) for message in sent] == [["milk!", "tea!"]]


@pytest.mark.usefixtures("ada")
@pytest.mark.django_db(transaction=True)
def test_reminders_beside_their_digest(alarm_clock: FakeClock, sent: Sent) -> None:
    """Whatever is done to the reminders of a digest while it is sent, by threads at one moment: each comes once, or not
    at all if it was cancelled, and none waits for the others for long.
    """
    names = ["digest", "now 1", "now 2", "cancel", "edit", "join 1", "join 2", "stay"]
    reminders = {name: remind(name, alarm_clock.now()) for name in names[1:] if not name.startswith("join")}
    pass_time(alarm_clock)
    reminders |= {name: remind(name, alarm_clock.now() + HOUR) for name in names if name.startswith("join")}
    alarm_clock.advance(HOUR)
    digest = Digest.objects.get(name="ada")

    def act(number: int) -> object:
        name = names[number]
        if name == "digest":
            return fire(digest.pk)
        if name.startswith("now"):
            actions.fire_now(reminders[name])
        elif name == "cancel":
            return reminders[name].cancel()
        elif name == "edit":
            return reminders[name].edit_reminder(message="edited")
        return fire(reminders[name].pk)

    run_in_threads(len(names), act)
    for by in (MINUTE, MINUTE, HOUR, HOUR, MINUTE):
        outcomes(alarm_clock, by)
    came = [text.strip("<>!") for message in sent for text in texts(message)]
    assert sorted(set(came) - {"cancel", "edit", "edited"}) == sorted(set(names) - {"digest", "cancel", "edit"})
    assert len(came) == len(set(came))
    assert len({"edit", "edited"} & set(came)) == 1
    assert not Plan.objects.filter(state="set").exists()
