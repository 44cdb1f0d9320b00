"""Commands of the apps that cannot be undone take a reason for the log, and ask for one where a setting says so."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from batcher.models import Batch, Batcher
from cleaner.models import PeriodicCleaner
from durable_objects.testing import FakeClock
from reminders.models import Plan, Reminder

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = ["6f1c64c9-9b35-4f0e-9c0b-0f4d5a1de3a1", "6f1c64c9-9b35-4f0e-9c0b-0f4d5a1de3a2"]


@pytest.fixture(autouse=True)
def made(alarm_clock: FakeClock) -> None:
    """A batcher with a batch that is set aside and one that failed, a cleaner that cleans, a reminder that is set."""
    batcher = Batcher.objects.get_by_name("a")
    batcher.save()
    moments = dict.fromkeys(("sealed_at", "give_up_at"), alarm_clock.now())
    for key, status, finished_at in zip(KEYS, ("set_aside", "failed"), (None, alarm_clock.now()), strict=True):
        Batch.objects.create(
            pk=key, batcher_id=batcher.pk, items_json="[1]", item_count=1, status=status, finished_at=finished_at,
            outcome_unknown=True, **moments,
        )  # fmt: skip
    PeriodicCleaner.objects.get_by_name("a").start()
    Reminder.objects.get_by_name("a").set_reminder("tea", alarm_clock.now() + timedelta(hours=1))


def state() -> list[str]:
    """How all of it stands."""
    batches = Batch.objects.order_by("pk").values_list("status", flat=True)
    is_stopped = PeriodicCleaner.objects.get_by_name("a").storage.get_alarm() is None
    return [*batches, str(is_stopped), Plan.objects.get().state]


@pytest.mark.parametrize(
    ("command", "done", "after"),
    [
        (("batcher", "fail", "a", KEYS[0]), f"batch {KEYS[0]} given up", ["failed", "failed", "False", "set"]),
        (
            ("batcher", "replay", "a", "--unknown"),
            "replayed 1 batch, also what may have been delivered,",
            ["set_aside", "set_aside", "False", "set"],
        ),
        (("cleaner", "stop", "a"), "stopped", ["set_aside", "failed", "True", "set"]),
        (("reminders", "cancel", "a"), "cancelled", ["set_aside", "failed", "False", "cancelled"]),
    ],
)
def test_what_cannot_be_undone_has_a_reason(
    command: tuple[str, ...], done: str, after: list[str], settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a reason it is refused where one is required, and nothing is done; with one the log has it."""
    settings.DURABLE_OBJECTS = {"REQUIRE_REASON": True}
    before = state()
    with pytest.raises(CommandError, match="REQUIRE_REASON"):
        call_command(*command)
    assert state() == before
    call_command(*command, "--reason", "old orders", stdout=StringIO())
    assert state() == after
    (line,) = [line for line in caplog.messages if "by hand" in line]
    assert f"'a': {done} by hand" in line
    assert line.endswith(": old orders")


def test_none_is_asked_where_none_is_required() -> None:
    """Without the setting the reason may be left out."""
    call_command("batcher", "fail", "a", KEYS[0], stdout=StringIO())
    assert Batch.objects.get(pk=KEYS[0]).answer == "failed by hand"
