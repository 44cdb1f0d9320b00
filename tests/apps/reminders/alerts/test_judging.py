"""When a rule's alert is reported: once it holds for long enough, again while it does, and its end; no more often."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from durable_objects.conditions import Found
from durable_objects.testing import FakeClock
from reminders.alerts import judging, messages, silences, watching
from reminders.models import Alert, AlertMessage, AlertRule
from tests.apps.reminders.alerts.conftest import MINUTE, Fire
from tests.support.sent_messages import Sent

pytestmark = pytest.mark.django_db

Minutes = Callable[[float], None]


def reported() -> list[str]:
    """What messages were made about, the first first."""
    return list(AlertMessage.objects.order_by("pk").values_list("about", flat=True))


def test_what_holds_is_reported_once_and_its_end_with_how_long_it_lasted(
    rule: AlertRule, fire: Fire, minutes: Minutes, sent: Sent
) -> None:
    """One message when it has held for its time, one when it has not for as long; "resolved after" is from the start of
    the one to the start of the other.
    """
    fire.burn()
    minutes(12)
    fire.go_out()
    minutes(10)
    assert [message.text.splitlines()[0] for message in sent] == [
        "Alert: It burns", "Resolved: It burns: resolved after 12m"
    ]  # fmt: skip
    opened, resolved = sent
    assert opened.alert is not None
    assert resolved.alert is not None
    assert (opened.alert.event, resolved.alert.event) == ("opened", "resolved")
    assert opened.alert.key == resolved.alert.key
    assert opened.key != resolved.key


def test_what_flares_up_is_not_reported(rule: AlertRule, fire: Fire, minutes: Minutes, sent: Sent) -> None:
    """What holds for less than its time, again and again, is reported to nobody."""
    for _ in range(5):
        fire.burn()
        minutes(1.5)
        fire.go_out()
        minutes(1)
    assert sent == []
    assert not Alert.objects.exists()


def test_what_flickers_is_one_alert(rule: AlertRule, fire: Fire, minutes: Minutes) -> None:
    """An alert that was reported stands while it is gone for less than its time."""
    fire.burn()
    minutes(5)
    for _ in range(5):
        fire.go_out()
        minutes(1.5)
        fire.burn()
        minutes(1)
    assert reported() == ["opened"]


def test_it_is_repeated_as_often_as_the_rule_says(rule: AlertRule, fire: Fire, minutes: Minutes, sent: Sent) -> None:
    """Each ``repeat_every`` while it goes on, with for how long it has; never without one."""
    AlertRule.objects.update(repeat_every=timedelta(minutes=5))
    fire.burn()
    minutes(18)
    assert reported() == ["opened", "stands", "stands", "stands"]
    assert sent[1].text.startswith("Alert, still: It burns: for 7m")
    AlertRule.objects.update(repeat_every=None)
    minutes(12)
    assert len(reported()) == 4


def test_what_comes_in_is_reported_after_a_while_and_by_itself(
    rule: AlertRule, fire: Fire, minutes: Minutes, sent: Sent
) -> None:
    """A subject that was not reported yet makes another message, about it alone; those that come together make one."""
    fire.burn("shed")
    minutes(3)
    fire.burn("shed", "barn")
    minutes(2)
    fire.burn("shed", "barn", "mill")
    minutes(10)
    assert reported() == ["opened", "grew"]
    assert sent[1].text.splitlines()[1:] == ["It burns.", "- the barn", "- the mill"]


def test_ten_thousand_at_once_are_one_short_message(rule: AlertRule, fire: Fire, minutes: Minutes, sent: Sent) -> None:
    """A message lists five and counts the others, however many there are and however long their texts; and what goes
    beyond those that are remembered is not new each time.
    """
    fire.found = Found("It burns.", {str(number): "x" * 500 for number in range(10_000)})
    minutes(30)
    (message,) = sent
    assert len(message.text) <= messages.LONGEST_TEXT
    assert reported() == ["opened"]
    fire.found = Found("It burns.", {str(number): f"barn {number}" for number in range(10_000, 20_000)})
    minutes(6)
    assert reported() == ["opened", "grew"]
    assert sent[1].text.splitlines()[-2:] == ["- barn 10004", "- and 995 more"]
    assert len(Alert.objects.get().subjects) == 1_000


def test_nobody_is_reported_during_a_silence_and_what_stands_then_is(
    rule: AlertRule, fire: Fire, minutes: Minutes, sent: Sent
) -> None:
    """Neither that it holds nor its end; an alert that outlasts the silence is reported with its true beginning."""
    silences.silence(rule, timedelta(minutes=30), by="ann", reason="we know")
    fire.burn()
    minutes(10)
    fire.go_out()
    minutes(10)
    fire.burn()
    minutes(5)
    assert sent == []
    minutes(10)
    (message,) = sent
    assert message.alert is not None
    assert message.planned_at - message.alert.since == timedelta(minutes=9, seconds=30)


@pytest.mark.parametrize("ended_by_hand", [False, True])
def test_the_end_of_what_was_reported_is_reported_once_the_silence_is_over(
    ended_by_hand: bool, rule: AlertRule, fire: Fire, minutes: Minutes, sent: Sent
) -> None:
    """Who was told of an alert that ends during a silence is told of its end, once, when the silence is over by itself
    or by hand, before what began meanwhile.
    """
    fire.burn()
    minutes(4)
    silences.silence(rule, timedelta(minutes=14), by="ann", reason="we know")
    minutes(3)
    fire.go_out()
    minutes(5)
    fire.burn()
    minutes(4)
    assert reported() == ["opened"]
    if ended_by_hand:
        assert silences.end_silence(AlertRule.objects.get(pk=rule.pk))
        minutes(2)
    else:
        minutes(4)
    assert reported() == ["opened", "resolved", "opened"]
    assert sent[1].text.splitlines()[0] == "Resolved: It burns: resolved after 7m"
    assert sent[0].alert is not None
    assert sent[1].alert is not None
    assert sent[0].alert.key == sent[1].alert.key
    minutes(6)
    assert reported().count("resolved") == 1


def test_a_rule_that_is_switched_off_says_nothing_of_an_end_that_was_put_off(
    rule: AlertRule, fire: Fire, minutes: Minutes
) -> None:
    """An end that waits for the end of a silence is not reported any more once its rule was switched off."""
    fire.burn()
    minutes(5)
    silences.silence(rule, timedelta(minutes=8), by="ann", reason="")
    fire.go_out()
    minutes(5)
    AlertRule.objects.update(is_enabled=False)
    minutes(1)
    AlertRule.objects.update(is_enabled=True)
    minutes(6)
    assert reported() == ["opened"]


def test_an_alert_that_nobody_was_reported_about_ends_silently(rule: AlertRule, fire: Fire, minutes: Minutes) -> None:
    """Where the silence outlasts the alert, there is no message about its end either."""
    silences.silence(rule, timedelta(minutes=8), by="ann", reason="")
    fire.burn()
    minutes(5)
    fire.go_out()
    minutes(20)
    assert reported() == []
    assert Alert.objects.get().state == "over"


def test_a_rule_that_is_switched_off_ends_its_alert_without_a_word(
    rule: AlertRule, fire: Fire, minutes: Minutes
) -> None:
    """And when it is switched on again it is judged again."""
    fire.burn()
    minutes(5)
    AlertRule.objects.update(is_enabled=False)
    minutes(5)
    assert [alert.state for alert in Alert.objects.all()] == ["over"]
    AlertRule.objects.update(is_enabled=True)
    minutes(5)
    assert reported() == ["opened", "opened"]


def test_a_condition_that_raises_changes_nothing_and_is_kept_with_its_rule(
    rule: AlertRule, fire: Fire, minutes: Minutes
) -> None:
    """The alert stands, other rules are judged, and the rule says why it is not."""
    other = AlertRule.objects.create(condition="gone", channels=["log"])
    fire.burn()
    minutes(5)
    fire.error = ZeroDivisionError("by zero")
    minutes(10)
    rule.refresh_from_db()
    other.refresh_from_db()
    assert (rule.flaw, Alert.objects.get().state) == ("ZeroDivisionError: by zero", "firing")
    assert "no condition 'gone'" in other.flaw
    fire.error, fire.found = None, None
    minutes(5)
    rule.refresh_from_db()
    assert (rule.flaw, reported()) == ("", ["opened", "resolved"])


@pytest.mark.parametrize("jump", [timedelta(hours=3), timedelta(days=-2)])
def test_a_clock_that_jumps_opens_nothing_and_ends_nothing(
    rule: AlertRule, fire: Fire, minutes: Minutes, alarm_clock: FakeClock, jump: timedelta
) -> None:
    """What has held for a minute has not held for hours then, nor has it been gone for so long; and looking goes on."""
    fire.burn()
    minutes(1)
    alarm_clock.move_to(alarm_clock.now() + jump)
    minutes(1)
    assert reported() == []
    minutes(3)
    assert reported() == ["opened"]
    fire.go_out()
    minutes(1)
    alarm_clock.move_to(alarm_clock.now() + jump)
    minutes(1)
    assert reported() == ["opened"]
    minutes(3)
    assert reported() == ["opened", "resolved"]


def test_rules_are_not_looked_at_more_often_than_asked_for(rule: AlertRule, alarm_clock: FakeClock) -> None:
    """By whatever processes, and at once where somebody asks for it."""
    assert watching.check() == []
    assert watching.check() is None
    assert watching.check(at_once=True) == []
    alarm_clock.advance(MINUTE / 2)
    assert watching.check() == []


def test_alerts_that_are_over_are_kept_up_to_a_bound(
    rule: AlertRule, fire: Fire, minutes: Minutes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest ``ALERTS_KEPT`` of a rule."""
    monkeypatch.setattr(judging, "ALERTS_KEPT", 10)
    rule.hold_for = timedelta(0)
    rule.save()
    for _ in range(13):
        fire.burn()
        minutes(0.5)
        fire.go_out()
        minutes(0.5)
    assert Alert.objects.count() == 10
    assert AlertMessage.objects.count() == 20


def test_an_end_that_waits_for_a_silence_is_not_forgotten(
    rule: AlertRule, fire: Fire, minutes: Minutes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was told of an alert is told of its end, however many others came and went during the silence."""
    monkeypatch.setattr(judging, "ALERTS_KEPT", 5)
    AlertRule.objects.update(hold_for=timedelta(0))
    fire.burn()
    minutes(1)
    rule.refresh_from_db()
    silences.silence(rule, timedelta(minutes=30), by="ann", reason="we know")
    for _ in range(10):
        fire.go_out()
        minutes(1)
        fire.burn()
        minutes(1)
    fire.go_out()
    minutes(30)
    assert reported() == ["opened", "resolved"]
