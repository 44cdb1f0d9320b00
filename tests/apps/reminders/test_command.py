"""``manage.py reminders``."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from durable_objects.testing import FakeClock
from reminders.models import Reminder

pytestmark = pytest.mark.django_db

SET = ["set", "tea", "Drink tea", "2030-03-30T02:30", "--zone", "Europe/Berlin", "--every", "FREQ=DAILY;COUNT=9"]


def run(*arguments: str) -> str:
    """What the command wrote."""
    out = io.StringIO()
    call_command("reminders", *arguments, stdout=out)
    return out.getvalue()


def answer(*arguments: str) -> Any:
    """What it answers as JSON."""
    return json.loads(run(*arguments, "--json"))


def test_set_show_snooze_list_cancel() -> None:
    """Each verb does what its method does, and answers with what is set, as text or JSON."""
    with FakeClock(datetime(2030, 3, 1, tzinfo=UTC)):
        shown = answer(
            *SET, "--person", "ada", "--except", "20300402T023000", "--channel", "log", "--skip-if-late", "1h"
        )
        assert (shown["state"], shown["next_at"], shown["person"]) == ("set", "2030-03-30T01:30:00+00:00", "ada")
        assert shown["then"][0].startswith("Sun 2030-03-31 03:30 CEST The clocks are put forward")
        assert [text[4:14] for text in shown["then"]][2] == "2030-04-03"
        assert answer("snooze", "tea", "20m")["next_at"] == "2030-03-30T01:50:00+00:00"
        snoozed = answer("snooze", "tea", "tomorrow")
        assert snoozed["state"] == "snoozed"
        assert snoozed["snoozed"] == "from Sat 30 Mar 2030, 02:50 to Sun 31 Mar 2030, 03:50 (Europe/Berlin)"
        assert [line["reminder"] for line in answer("list", "--person", "ada")] == ["tea"]
        assert (answer("list", "--person", "bob"), run("list", "--person", "bob")) == ([], "Nothing is set.\n")
        assert run("list").split("  ")[1:4] == ["snoozed", "ada", "tea"]
        assert answer("cancel", "tea") == {"reminder": "tea", "cancelled": True}
        assert "state: cancelled\nnext_at: -" in run("show", "tea")
        assert answer("show", "never") == {"reminder": "never", "state": "never set"}


def test_a_dry_run_shows_the_next_times() -> None:
    """--dry-run says when it would come, and sets nothing."""
    problem = answer(*SET, "--dry-run")
    assert (problem["set"], len(problem["next"])) == (False, 5)
    assert not Reminder.objects.exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["set", "tea", "m", "soon"], "WHEN is 'soon'. Allowed: ISO 8601"),
        (["set", "tea", "m", "2030-01-01T09:00"], "give it an offset, or give --zone"),
        ([*SET[:-1], "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"], "which never occurs from"),
        ([*SET, "--except", "tomorrow"], "Allowed: an RRULE"),
        (["snooze", "tea", "20m"], "is not set: nothing to snooze"),
        (["snooze", "tea", "a while"], "Allowed: such as 90s"),
    ],
)
def test_what_it_refuses(arguments: list[str], problem: str) -> None:
    """Bad input is an error in words, without a traceback."""
    with pytest.raises(CommandError, match=problem):
        run(*arguments)


def test_the_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """--help shows a line to copy for each verb."""
    with pytest.raises(SystemExit):
        run("--help")
    problem = capsys.readouterr().out
    for verb in ("set", "list", "show", "snooze", "cancel"):
        assert f"manage.py reminders {verb} " in problem
