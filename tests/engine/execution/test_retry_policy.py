"""A class says when its retries come: ``alarm_backoff`` and ``alarm_jitter``. Whatever it says, no alarm is lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Retry
from django.db import connection

from durable_objects import tasks
from durable_objects.alarms import backoff
from durable_objects.delivery import publisher
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.tables import Alarm, AlarmRun
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Impatient, Script, Scripted

pytestmark = pytest.mark.django_db(transaction=True)

NOW, SECOND, HOUR, DAY = timedelta(0), timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
USUAL = 2 * SECOND


@pytest.fixture
def failing(obj: Scripted, script: Script) -> Scripted:
    """An object whose alarm is due and will fail."""

    def fail(obj: Scripted, info: Any) -> None:
        raise ValueError("boom")

    script.alarm = fail
    obj.storage.set_alarm(NOW)
    return obj


def pauses(clock: FakeClock, count: int) -> list[timedelta]:
    """The time between each failed run and its retry, of the next runs."""
    runs: list[AlarmRun] = run_due_alarms()
    for _ in range(count):
        due = Alarm.objects.get().due_at
        assert due is not None
        clock.move_to(due)
        runs += run_due_alarms()
    return [later.started_at - earlier.ended_at for earlier, later in pairwise(runs)]


def test_delays_one_after_the_other(clock: FakeClock, failing: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list gives the delay after each failure, and its last one repeats."""
    monkeypatch.setattr(Scripted, "alarm_backoff", [NOW, 5 * SECOND, HOUR])
    assert pauses(clock, 5) == [NOW, 5 * SECOND, HOUR, HOUR, HOUR, HOUR]


def test_a_function_of_the_failures(clock: FakeClock, failing: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function is asked after each failure with the number of failed runs, beginning with 1."""
    monkeypatch.setattr(Scripted, "alarm_backoff", staticmethod(lambda failures: failures * HOUR))
    assert pauses(clock, 6) == [1 * HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR, 5 * HOUR, 6 * HOUR]
    assert Alarm.objects.get().state == "dead"


def test_the_classes_number_of_retries_counts_on(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """``alarm_max_retries`` is the limit whatever the delays are: more of them do not mean more retries."""
    monkeypatch.setattr(Impatient, "alarm_backoff", (SECOND, SECOND, SECOND))
    Impatient.objects.get_by_name("a").storage.set_alarm(NOW)
    assert pauses(clock, 1) == [SECOND]
    assert Alarm.objects.get().state == "dead"


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("policy", [None, [USUAL], lambda failures: USUAL])
def test_jitter_only_adds(monkeypatch: pytest.MonkeyPatch, policy: Any, chance: float) -> None:
    """A retry is later by a part of the fraction, never earlier, whatever the policy is."""
    monkeypatch.setattr(random, "random", lambda: chance)
    assert backoff.retry_delay(1, policy, 0.5) == USUAL * (1 + 0.5 * chance)
    assert backoff.retry_delay(1, policy) == USUAL


def test_jitter_of_a_class(failing: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """``alarm_jitter`` is added to the delay of a run that fails."""
    monkeypatch.setattr(random, "random", lambda: 0.5)
    monkeypatch.setattr(Scripted, "alarm_jitter", 1)
    assert fire(failing.pk).delay == 3 * SECOND


def exits(failures: int) -> timedelta:
    """End what calls it."""
    raise SystemExit


def breaks_the_transaction(failures: int) -> timedelta:
    """Ask the database for nonsense."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nothing FROM nowhere")
    return USUAL


@pytest.mark.parametrize(
    "function",
    [
        lambda failures: 1 / 0, lambda failures: None, lambda failures: 5, lambda failures: -SECOND,
        lambda failures: timedelta.max, exits, breaks_the_transaction,
    ],
)  # fmt: skip
def test_a_function_that_fails_costs_no_alarm(
    failing: Scripted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, function: Callable[[int], Any]
) -> None:
    """The retry then comes after the usual delay, the run is on record, and the log has one error that says why."""
    monkeypatch.setattr(Scripted, "alarm_backoff", staticmethod(function))
    fired = fire(failing.pk)
    assert (fired.verdict, fired.delay) == (Verdict.FAILED, USUAL)
    slot = Alarm.objects.get()
    assert (slot.state, slot.retry_count) == ("armed", 1)
    assert "boom" in slot.last_error
    [error] = [record for record in caplog.records if record.name.startswith("durable_objects") and record.exc_info]
    assert (error.levelname, vars(error)["event"], vars(error)["object_name"]) == ("ERROR", "alarm_backoff_raised", "a")


class SentTask:
    """Stands for the task in a worker: keeps what Celery is asked to send."""

    def __init__(self, retries: int) -> None:
        self.request = SimpleNamespace(retries=retries)
        self.sent: dict[str, Any] = {}

    def retry(self, **options: Any) -> Exception:
        """Send the same message again, counted once more."""
        self.sent = options | {"counted": self.request.retries + 1}
        return Retry()


@pytest.mark.parametrize("retries", [0, 3], ids=["counts as the row", "counts otherwise"])
def test_message_of_a_retry_has_the_classes_delay(
    failing: Scripted, monkeypatch: pytest.MonkeyPatch, retries: int
) -> None:
    """Celery sends the same wake-up again after the delay that the row has, counted as the row counts."""
    monkeypatch.setattr(Scripted, "alarm_backoff", [7 * SECOND])
    task: Any = SentTask(retries)
    with pytest.raises(Retry):
        tasks._retry(task, (failing.pk, 1), fire(failing.pk))
    sent = {name: task.sent[name] for name in ("args", "countdown", "counted")}
    assert sent == {"args": (failing.pk, 1), "countdown": 7.0, "counted": 1}
    slot = Alarm.objects.get()
    assert slot.wake_up_for == slot.due_at


def test_usual_retry_is_left_to_autoretry(failing: Scripted) -> None:
    """A class that says nothing is retried by Celery's own ``retry_backoff``."""
    task: Any = SentTask(0)
    with pytest.raises(tasks.AlarmRunFailed):
        tasks._retry(task, (failing.pk, 1), fire(failing.pk))
    assert task.sent == {}


@pytest.mark.parametrize("delay", [NOW, SECOND / 2])
def test_retry_in_less_than_a_second_is_a_wake_up_of_its_own(
    published: list[publisher.WakeUp], failing: Scripted, monkeypatch: pytest.MonkeyPatch, delay: timedelta
) -> None:
    """RabbitMQ delays by whole seconds, and refuses 0: such a retry is sent as an alarm that is due now."""
    monkeypatch.setattr(Scripted, "alarm_backoff", [delay])
    [wake_up] = published
    assert tasks.fire_alarm(wake_up.object_id, wake_up.wake_up_number) == "failed"
    _, again = published
    slot = Alarm.objects.get()
    assert (again.wake_up_number, again.at, again.retries) == (wake_up.wake_up_number + 1, slot.due_at, 1)


def test_far_retry_is_no_message(
    published: list[publisher.WakeUp], failing: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry in hours waits as a row, as every far alarm: no message out, and the run's task is done."""
    monkeypatch.setattr(Scripted, "alarm_backoff", [DAY])
    [wake_up] = published
    assert tasks.fire_alarm(wake_up.object_id, wake_up.wake_up_number) == "failed"
    slot = Alarm.objects.get()
    assert (slot.state, slot.retry_count, slot.wake_up_for) == ("armed", 1, None)
    assert len(published) == 1


@pytest.mark.parametrize(
    "function", [lambda: USUAL, lambda self, failures: USUAL, lambda failures, *, other: USUAL], ids=range(3)
)
def test_function_of_something_else_cannot_be_a_classes(function: Callable[..., Any]) -> None:
    """A method, or whatever cannot be called with a number alone, is refused as the class is made."""
    meta = type("Meta", (), {"proxy": True, "app_label": "tests"})
    with pytest.raises(TypeError, match=r"Unfit\.alarm_backoff does not take the number of failed runs"):
        type("Unfit", (Scripted,), {"Meta": meta, "__module__": __name__, "alarm_backoff": function})


def test_async_function_cannot_be_a_classes() -> None:
    """What it returns would be no delay."""

    async def later(failures: int) -> timedelta:
        return USUAL

    meta = type("Meta", (), {"proxy": True, "app_label": "tests"})
    with pytest.raises(TypeError, match=r"Unfit\.alarm_backoff"):
        type("Unfit", (Scripted,), {"Meta": meta, "__module__": __name__, "alarm_backoff": staticmethod(later)})
