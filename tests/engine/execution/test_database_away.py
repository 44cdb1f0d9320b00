"""Wake-ups that arrive while the database is away: sent again soon, uncounted, not lost for ten seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection

from durable_objects import AlarmInfo, tasks
from durable_objects.delivery import publisher
from durable_objects.execution import waiting_line
from durable_objects.execution.groups import fire_group
from durable_objects.execution.shared_messages import fire_each
from durable_objects.tables import Alarm, AlarmRun
from tests.engine.execution.conftest import LIMIT, NAMES, Alarms, Messages, count, runs
from tests.models import Grouped, Script

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def away() -> Iterator[None]:
    """The session is gone, and there is no other one to be had."""
    connection.close()
    with no_other_session():
        yield


@contextmanager
def no_other_session() -> Iterator[None]:
    """Who connects is refused."""

    def refuse(*args: Any, **options: Any) -> Any:
        raise OperationalError("connection refused")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "get_new_connection", refuse)
        yield


def states() -> set[tuple[str, int, int]]:
    """How the alarms stand, and what was counted."""
    return set(Alarm.objects.values_list("state", "retry_count", "crashed_starts"))


def test_a_single_one_is_sent_again_after_1_2_4_and_8_seconds(
    alarms: Alarms, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After that its dispatcher sends it: an outage of hours does not keep messages going round."""
    object_id, number, _ = alarms[0]
    sent: list[tuple[Any, float]] = []
    monkeypatch.setattr(
        tasks, "_send", lambda args, delay, kind_id, **options: sent.append((args, delay.total_seconds()))
    )
    with away():
        for waits in range(4):
            assert tasks.fire_alarm(object_id, number, False, waits) == "again"
        with pytest.raises(OperationalError):
            tasks.fire_alarm(object_id, number, False, 4)
    assert sent == [((object_id, number, False, waits), 2 ** (waits - 1)) for waits in range(1, 5)]
    assert states() == {("armed", 0, 0)}
    assert tasks.fire_alarm(*sent[0][0]) == "succeeded"


def test_each_of_a_message_comes_again_alone(alarms: Alarms, messages: Messages) -> None:
    """A second later; none of them is counted or lost, and all run then."""
    with away():
        assert fire_each(alarms, LIMIT).ran == 0
    again = [message[0] for message in messages]
    assert messages.alone() == [object_id for object_id, _, _ in alarms]
    assert [each.waits for each in again] == [1] * len(NAMES)
    assert all(timedelta(0) < each.at - datetime.now(UTC) <= timedelta(seconds=1) for each in again)
    assert states() == {("armed", 0, 0)}
    for each in again:
        assert tasks.fire_alarm(each.object_id, each.wake_up_number, each.rescue, each.waits) == "succeeded"
    assert runs() == dict.fromkeys(NAMES, 1)


def test_a_group_comes_again_one_by_one(script: Script, messages: Messages) -> None:
    """With nothing counted, and each of them runs once in the end."""
    message = group(messages)
    with away():
        assert fire_group([(each.object_id, each.wake_up_number) for each in message], LIMIT) == 0
    each_runs_once(script, message, messages)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no session to lose")
def test_what_a_group_has_written_is_undone_with_its_session(script: Script, messages: Messages) -> None:
    """The session is lost in the middle, and the database away from then on."""
    message = group(messages)
    cut = ExitStack()

    def alarm(obj: Any, info: AlarmInfo) -> None:
        count(obj, info)
        if obj.name == "b":
            with suppress(OperationalError), connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            cut.enter_context(no_other_session())

    script.alarm = alarm
    with cut:
        assert fire_group([(each.object_id, each.wake_up_number) for each in message], LIMIT) == 0
    each_runs_once(script, message, messages)


def group(messages: Messages) -> list[publisher.WakeUp]:
    """Four alarms that are due and share a transaction: what is in their message."""
    Grouped.objects.set_alarms(dict.fromkeys(NAMES, timedelta(0)))
    (message,) = messages
    messages.clear()
    return message


def each_runs_once(script: Script, message: list[publisher.WakeUp], messages: Messages) -> None:
    """Deliver what was published instead of the message."""
    again = [each for sent in messages for each in sent]
    assert sorted(each.object_id for each in again) == sorted(each.object_id for each in message)
    assert {(each.waits, each.shares) for each in again} == {(1, publisher.Shares.NOTHING)}
    assert (states(), AlarmRun.objects.count()) == ({("armed", 0, 0)}, 0)
    script.alarm = count
    for each in again:
        assert tasks.fire_alarm(each.object_id, each.wake_up_number, each.rescue, each.waits) == "succeeded"
    assert {Grouped.objects.get_by_name(name).storage.get("runs") for name in NAMES} == {1}


def test_the_log_has_one_line_on_it(
    alarms: Alarms, messages: Messages, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are put off, with what to look at."""
    monkeypatch.setattr(waiting_line, "_logged", {})
    with away():
        fire_each(alarms, LIMIT)
    (record,) = [record for record in caplog.records if "put off" in record.getMessage()]
    assert "after 1, 2, 4, 8 s: The database does not answer, or refuses the connection." in record.getMessage()
    assert record.levelname == "WARNING"


def test_an_error_of_the_code_is_not_put_off(alarms: Alarms, messages: Messages) -> None:
    """Only the engine's own session counts: whatever else was raised is raised on."""
    Alarm.objects.count()
    assert waiting_line.after_lost_connection(ValueError("no"), 0) is None
    assert waiting_line.after_lost_connection(IntegrityError("no"), 0) is None
