"""The messages about alerts: each arrives at least once, in order, whatever becomes of the channel or the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections

import durable_objects
from durable_objects import failpoints
from durable_objects.receiver import verify
from durable_objects.testing import FakeClock, crash_at
from reminders import channels
from reminders.alerts import messages, silences, validation, watching
from reminders.channels import Message, Refused, TryLater
from reminders.models import AlertMessage, AlertRule, Recipient
from tests.apps.reminders.alerts.conftest import MINUTE, Fire
from tests.support.sent_messages import Sent
from tests.support.upstream import Upstream

pytestmark = pytest.mark.django_db

Minutes = Callable[[float], None]
SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS10ZXN0cy1vbmx5"


def statuses() -> list[tuple[str, str, int]]:
    """What became of each message: what it is about, its status, its attempts."""
    return list(AlertMessage.objects.order_by("pk").values_list("about", "status", "attempts"))


def test_a_channel_that_is_down_gets_all_in_their_order_once_it_is_back(
    rule: AlertRule, fire: Fire, minutes: Minutes, sent: Sent
) -> None:
    """The end of an alert does not overtake its beginning, and none is lost; repeats are not piled up meanwhile."""

    def down(message: Message) -> None:
        raise ConnectionError("down")

    AlertRule.objects.update(repeat_every=timedelta(minutes=5))
    sent.act = down
    fire.burn()
    minutes(30)
    fire.go_out()
    minutes(5)
    assert {about for about, _, _ in statuses()} == {"opened", "resolved"}
    assert all(message.alert and message.alert.event == "opened" for message in sent)
    sent.clear()
    sent.act = None
    minutes(12)
    assert [message.alert and message.alert.event for message in sent] == ["opened", "resolved"]
    assert len({message.key for message in sent}) == 2


def test_one_that_puts_off_for_ever_is_given_up(rule: AlertRule, fire: Fire, minutes: Minutes, sent: Sent) -> None:
    """A channel that says "later" is asked again, not in the same breath, for a day; then it is given up."""

    def later(message: Message) -> None:
        if len(sent) > 100:
            raise KeyboardInterrupt("asked again and again")
        raise TryLater("busy", timedelta(0))

    sent.act = later
    fire.burn()
    minutes(3)
    assert 1 <= len(sent) < 100
    AlertMessage.objects.update(made_at=durable_objects.now() - timedelta(days=2))
    minutes(2)
    assert statuses()[0][:2] == ("opened", "failed")


def test_one_that_is_down_does_not_hold_up_the_other(
    rule: AlertRule, fire: Fire, minutes: Minutes, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each channel is tried for itself."""

    def down(message: Message) -> None:
        raise ConnectionError("down")

    monkeypatch.setitem(channels._channels, "down", down)
    AlertRule.objects.update(channels=["down", "log"])
    fire.burn()
    minutes(5)
    fire.go_out()
    minutes(5)
    assert [message.alert and message.alert.event for message in sent] == ["opened", "resolved"]


def test_what_is_refused_for_good_is_not_tried_again(rule: AlertRule, fire: Fire, minutes: Minutes, sent: Sent) -> None:
    """It is kept with its reason."""

    def refuse(message: Message) -> None:
        raise Refused("no such address")

    sent.act = refuse
    fire.burn()
    minutes(10)
    assert statuses() == [("opened", "refused", 1)]
    assert AlertMessage.objects.get().error == "no such address"


def test_after_a_day_it_is_given_up(
    rule: AlertRule, fire: Fire, minutes: Minutes, sent: Sent, alarm_clock: FakeClock
) -> None:
    """And kept as failed, with its last error."""

    def down(message: Message) -> None:
        raise ConnectionError("down")

    sent.act = down
    fire.burn()
    minutes(3)
    for _ in range(26):
        alarm_clock.advance(timedelta(hours=1))
        messages.send_due(MINUTE)
    row = AlertMessage.objects.get()
    assert (row.status, row.error) == ("failed", "ConnectionError: down")


def test_a_process_that_dies_behind_the_channel_has_it_sent_again_under_the_same_key(
    rule: AlertRule, fire: Fire, minutes: Minutes, sent: Sent, alarm_clock: FakeClock
) -> None:
    """At least once: its try counts as lost after a while, and receivers know the repetition by the key."""
    fire.burn()
    with crash_at("reminders.alert_sent"), pytest.raises(failpoints.SimulatedCrash):
        minutes(3)
    assert messages.send_due(MINUTE) == 0
    minutes(2)
    assert len(sent) == 2
    assert len({message.key for message in sent}) == 1
    assert statuses() == [("opened", "delivered", 2)]


def test_a_signed_webhook_has_the_alert_in_its_body(
    rule: AlertRule, fire: Fire, minutes: Minutes, upstream: Upstream
) -> None:
    """Type ``alert.opened``, the key as its id, signed with the recipient's secret."""
    Recipient.objects.create(name="ops", webhook_url=upstream.url, webhook_secret=SECRET)
    AlertRule.objects.update(channels=["webhook"], person="ops")
    fire.burn("shed")
    minutes(3)
    (request,) = upstream.received
    row = AlertMessage.objects.get()
    assert verify(SECRET, request.headers, request.body) == str(row.key)
    body = request.json
    assert body["type"] == "alert.opened"
    assert body["data"]["condition"] == "fire"
    assert body["data"]["message"] == "Alert: It burns\nIt burns.\n- the shed"
    assert body["data"]["since"] < body["timestamp"]


def test_a_receiver_that_hangs_costs_one_deadline(
    rule: AlertRule, fire: Fire, minutes: Minutes, upstream: Upstream, settings: Any
) -> None:
    """The try ends, and the message is tried again later."""
    upstream.hold()
    Recipient.objects.create(name="ops", webhook_url=upstream.url, webhook_secret=SECRET)
    AlertRule.objects.update(channels=["webhook"], person="ops")
    settings.REMINDERS = {"DEADLINE": timedelta(seconds=0.3)}
    fire.burn()
    began = time.monotonic()
    minutes(2.5)
    assert time.monotonic() - began < 10
    assert statuses() == [("opened", "pending", 1)]
    assert AlertMessage.objects.get().error


def test_a_test_message_is_sent_at_once_and_tells_what_came_of_it(rule: AlertRule, sent: Sent) -> None:
    """By each channel, marked as a test; one that fails is not tried again later."""
    (row,) = silences.test(rule)
    assert (row.status, len(sent)) == ("delivered", 1)
    assert sent[0].text.startswith("Test of an alert: It burns")

    def down(message: Message) -> None:
        raise ConnectionError("down")

    sent.act = down
    (row,) = silences.test(rule)
    assert (row.status, row.error) == ("failed", "ConnectionError: down")
    assert messages.send_due(MINUTE) == 0


@pytest.mark.django_db(transaction=True)
def test_two_that_look_and_send_at_once_tell_each_change_once(fire: Fire, sent: Sent, alarm_clock: FakeClock) -> None:
    """However many processes evaluate the rules at the same time."""
    AlertRule.objects.create(condition="fire", hold_for=timedelta(0), channels=["log"], repeat_every=MINUTE)
    fire.burn()
    barrier = threading.Barrier(4)
    errors: list[BaseException] = []

    def look() -> None:
        try:
            barrier.wait(10)
            for _ in range(3):
                watching.check(at_once=True)
                messages.send_due(MINUTE)
        except BaseException as error:  # noqa: BLE001  for the test's own thread to report
            errors.append(error)
        finally:
            connections.close_all()

    for _ in range(5):
        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        alarm_clock.advance(MINUTE)
    assert errors == []
    assert [about for about, _, _ in statuses()] == ["opened", "stands", "stands", "stands", "stands"]
    assert len({message.key for message in sent}) == len(sent) == 5


def test_a_process_that_was_stopped_in_its_turn_changes_nothing(
    rule: AlertRule, fire: Fire, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another has taken the turn over since: what the first found is of yesterday."""
    asked = validation.asked

    def stopped(*args: Any) -> Any:
        monkeypatch.setattr(watching, "asked", asked)
        found = asked(*args)
        alarm_clock.advance(timedelta(minutes=5))
        fire.go_out()
        assert watching.check() == []
        return found

    AlertRule.objects.update(hold_for=timedelta(0))
    fire.burn()
    monkeypatch.setattr(watching, "asked", stopped)
    assert watching.check() is None
    assert not AlertMessage.objects.exists()
