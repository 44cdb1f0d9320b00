"""Commands that cannot be undone take a reason, which the log has, and ask for one where a setting says so."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from durable_objects.tables import Alarm, Object, Schedule
from tests.models import Script, Scripted

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def obj(script: Script) -> Scripted:
    """An object with an alarm and a schedule."""
    made = Scripted.objects.get_by_name("a")
    made.storage.set_alarm(timedelta(hours=1))
    made.schedules.set("daily", "scheduled", every=timedelta(days=1))
    return made


@pytest.mark.parametrize(
    ("command", "done"),
    [
        (("alarms", "cancel", "tests.Scripted", "a"), "alarm cancelled"),
        (("schedules", "cancel", "tests.Scripted", "a", "daily"), "schedule 'daily' cancelled"),
        (("objects", "delete", "tests.Scripted", "a", "--yes"), "deleted"),
        (("objects", "delete", "tests.Scripted", "--all", "--yes"), "deleted"),
    ],
)
def test_what_cannot_be_undone_has_a_reason(
    command: tuple[str, ...], done: str, obj: Scripted, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a reason it is refused where one is required, and nothing is done; with one the log has it."""
    settings.DURABLE_OBJECTS = {"REQUIRE_REASON": True}
    with pytest.raises(CommandError, match="REQUIRE_REASON"):
        call_command(*command)
    assert (Alarm.objects.get().state, Schedule.objects.count(), Object.objects.count()) == ("armed", 1, 1)
    call_command(*command, "--reason", "old orders", stdout=StringIO())
    (line,) = [line for line in caplog.messages if "by hand" in line]
    assert line.startswith(f"tests.Scripted 'a': {done} by hand")
    assert line.endswith(": old orders")
