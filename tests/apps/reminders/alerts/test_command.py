"""``manage.py alerts``."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from durable_objects.testing import FakeClock
from reminders.models import AlertMessage, AlertRule
from tests.apps.reminders.alerts.conftest import Fire
from tests.support.sent_messages import Sent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("alarm_clock")]


def run(*arguments: str) -> str:
    """What the command wrote."""
    out = io.StringIO()
    call_command("alerts", *arguments, stdout=out)
    return out.getvalue()


def answer(*arguments: str) -> Any:
    """What it answers as JSON, a line each."""
    return [json.loads(line) for line in run(*arguments, "--json").splitlines()]


def test_a_rule_is_added_checked_silenced_tried_out_and_removed(fire: Fire, sent: Sent, alarm_clock: FakeClock) -> None:
    """Each verb does what it says; ``check`` fails while a rule reports that nobody has silenced."""
    (added,) = answer("add", "fire", "--at-least", "3", "--hold-for", "0s", "--repeat", "off")
    number = str(added["rule"])
    assert run("check") == "No rule reports. Messages sent: 0.\n"
    fire.burn("shed")
    with pytest.raises(CommandError, match="1 of 1 rules report; messages sent: 1"):
        run("check")
    assert [message.text for message in sent] == ["Alert: It burns (at least 3)\nIt burns.\n- the shed"]
    (line,) = answer("list")
    assert (line["state"], line["text"]) == ("firing", "It burns.\n- the shed")
    assert "nothing is reported until" in run("silence", number, "2h", "--reason", "known", "--by", "ann")
    assert run("check").startswith("silenced since ")
    assert AlertRule.objects.get().silence_reason == "known"
    assert run("silence", number, "off") == "It burns (at least 3) is reported again.\n"
    assert run("test", number) == "log: delivered\n"
    assert run("remove", number) == "Removed: It burns (at least 3).\n"
    assert not AlertMessage.objects.exists()


def test_one_of_each_condition_is_added_once(fire: Fire) -> None:
    """``--all`` leaves out conditions that have a rule."""
    names = [line["condition"] for line in answer("add", "--all")]
    assert {"late", "dead", "dying", "parked", "dispatcher", "new_error", "batcher.breaker_open", "fire"} <= {*names}
    assert answer("add", "--all") == [{"added": 0}]
    assert {rule.hold_for for rule in AlertRule.objects.all()} == {timedelta(minutes=1)}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["add"], "give a CONDITION, or --all"),
        (["add", "smoke"], "no condition 'smoke' is registered here; known: late, dead"),
        (["add", "fire", "--class", "shop.Cart"], "the condition 'fire' has no object_class"),
        (["add", "late", "--class", "shop.Cart"], "no class of objects 'shop.Cart'"),
        (["add", "late", "--at-least", "3"], "the condition 'late' has no at_least"),
        (["add", "fire", "--at-least", "0"], "at_least is 0. Allowed: 1 or more"),
        (["add", "fire", "--hold-for", "soon"], "is not a span of time"),
        (["add", "fire", "--repeat", "1s"], "repeat_every is 1s. Allowed: a minute or more"),
        (["add", "fire", "--channel", "pigeon"], "Allowed: a list of one or more of"),
        (["silence", "7", "2h"], "there is no rule 7"),
        (["test", "7"], "there is no rule 7"),
    ],
)
def test_what_it_refuses(arguments: list[str], problem: str, fire: Fire) -> None:
    """Bad input is an error in words, and adds no rule."""
    with pytest.raises(CommandError, match=problem):
        run(*arguments)
    assert not AlertRule.objects.exists()


def test_a_silence_that_is_none(rule: AlertRule) -> None:
    """Of no time, of too long, of a rule that has none to end."""
    for span, problem in (("0s", "a silence of 0:00:00"), ("9999d", "at most 366 days"), ("off", "is not silenced")):
        with pytest.raises(CommandError, match=problem):
            run("silence", str(rule.pk), span)


def test_a_rule_that_cannot_be_judged_fails_the_check(rule: AlertRule, fire: Fire) -> None:
    """So that cron, and whoever waits for its ping, hears of it."""
    fire.error = ZeroDivisionError("by zero")
    with pytest.raises(CommandError, match=r"could not be judged: .*It burns: ZeroDivisionError: by zero"):
        run("check")
