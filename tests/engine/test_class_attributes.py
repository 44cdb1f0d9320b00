"""What a class says of itself is judged as it is made; what was assigned since, by a check and at each first use."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.checks import run_checks

from durable_objects import tasks
from durable_objects.delivery import dispatcher, publisher
from durable_objects.tables import Alarm, AlarmRun
from tests.models import Counter, Grouped, Scripted

NOW = timedelta(0)

WRONG = [
    ("alarm_max_retries", None),
    ("alarm_max_retries", float("inf")),
    ("alarm_max_retries", -1),
    ("alarm_max_retries", "3"),
    ("alarm_max_retries", True),
    ("alarm_max_retries", 10**9),
    ("alarm_time_limit", None),
    ("alarm_time_limit", 30),
    ("alarm_time_limit", timedelta(0)),
    ("alarm_time_limit", timedelta(days=30)),
    ("alarm_time_limit", property(lambda self: NOW)),
    ("alarm_groups", None),
    ("alarm_backoff", []),
    ("alarm_backoff", 5),
    ("alarm_backoff", [timedelta(0), 5]),
    ("alarm_backoff", [timedelta(seconds=-1)]),
    ("alarm_backoff", (timedelta(days=366),)),
    ("alarm_jitter", 2),
    ("alarm_jitter", float("nan")),
    ("alarm_jitter", True),
    ("alarm_jitter", NOW),
    ("alarm_concurrency", 0),
    ("alarm_concurrency", 2.0),
    ("alarm_concurrency", True),
    ("alarm_concurrency", 10**6),
    ("alarm_rate", 0),
    ("alarm_rate", -1.0),
    ("alarm_rate", float("nan")),
    ("alarm_rate", "5"),
    ("alarm_rate", 10**6),
    ("read_ahead", "abc"),
    ("read_ahead", ["abc"]),
    ("read_ahead", (5,)),
    ("masked_keys", "token"),
]


@pytest.mark.parametrize(("name", "wrong"), WRONG)
def test_class_with_it_cannot_be_made(name: str, wrong: Any) -> None:
    """The import fails, with the value and what is allowed."""
    meta = type("Meta", (), {"proxy": True, "app_label": "tests"})
    with pytest.raises(TypeError, match=rf"Unfit\.{name} is .*; allowed: "):
        type("Unfit", (Counter,), {"Meta": meta, "__module__": __name__, name: wrong})


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "wrong"), WRONG)
def test_assigned_later_it_is_refused_by_a_check_and_by_calls(
    monkeypatch: pytest.MonkeyPatch, name: str, wrong: Any
) -> None:
    """``check`` names it (E018), and each call of such an object is refused in the same words."""
    monkeypatch.setattr(Scripted, name, wrong)
    [message] = [each for each in run_checks() if each.id == "durable_objects.E018"]
    assert f"Scripted.{name} is" in message.msg
    obj = Scripted.objects.get_by_name("a")
    calls: list[Callable[[], object]] = [
        lambda: obj.storage.set_alarm(NOW),
        lambda: Scripted.objects.set_alarms({"a": NOW}),
        lambda: obj.storage.put("k", 1),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=rf"Scripted\.{name} is .*; allowed: "):
            call()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("script")
@pytest.mark.parametrize("cls", [Scripted, Grouped])
@pytest.mark.parametrize("given", WRONG)
def test_alarm_that_is_set_already_waits(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    published: list[publisher.WakeUp],
    cls: Any,
    given: tuple[str, Any],
) -> None:
    """It is not run, not counted and not lost; the log names the flaw, and other classes' alarms are sent as ever."""
    cls.objects.get_by_name("a").storage.set_alarm(NOW)
    [wake_up] = published
    monkeypatch.setattr(tasks, "_send", lambda args, delay, kind_id, **options: None)
    monkeypatch.setattr(cls, *given)
    if cls is Grouped:
        assert tasks.fire_alarms([(wake_up.object_id, wake_up.wake_up_number)], 60.0) == 0
    assert tasks.fire_alarm(wake_up.object_id, wake_up.wake_up_number) == "again"
    assert f"{cls.__name__}.{given[0]} is" in caplog.text
    Alarm.objects.update(wake_up_for=None)
    assert dispatcher.run_pass().published == 0
    slot = Alarm.objects.get()
    assert (slot.state, slot.retry_count, slot.crashed_starts) == ("armed", 0, 0)
    assert not AlarmRun.objects.exists()
    monkeypatch.undo()
    assert tasks.fire_alarm(wake_up.object_id) == "succeeded"
    assert AlarmRun.objects.count() == 1
