"""What alerts may be about: each condition holds from its limits on, and not before."""

from __future__ import annotations

from datetime import timedelta

import pytest

from durable_objects import AlarmInfo, conditions
from durable_objects.conditions import Found, ask
from durable_objects.database import clock
from durable_objects.delivery import processes
from durable_objects.errors import InvalidInput
from durable_objects.tables import Alarm, AlarmRun, Process
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Script, Scripted

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


def found(name: str, **limits: object) -> Found | None:
    """What the condition finds now."""
    return ask(name, clock.now(), **limits)  # type: ignore[arg-type]  # limits of several types


def die(*names: str) -> None:
    """Let the alarms of these objects die."""

    def fail(obj: Scripted, info: AlarmInfo) -> None:
        raise ValueError(f"declined {obj.name}")

    Scripted.script = Script()
    Scripted.script.alarm = fail
    for name in names:
        Scripted.objects.get_by_name(name).storage.set_alarm(timedelta(0))


def test_late_from_its_time_on(alarm_clock: FakeClock) -> None:
    """By the oldest alarm that is due, of all classes or of one."""
    Scripted.objects.get_by_name("a").storage.set_alarm(MINUTE)
    alarm_clock.advance(2 * MINUTE)
    assert found("late") is None
    alarm_clock.advance(MINUTE)
    late = found("late")
    assert late is not None
    assert late.text.startswith("1 alarm is late, the oldest by 2m.")
    assert found("late", span=5 * MINUTE) is None
    assert found("late", object_class="tests.Scripted") == Found("An alarm of tests.Scripted is late by 2m.")
    assert found("late", object_class="batcher.Batcher") is None


def test_dead_and_dying_by_number(alarm_clock: FakeClock) -> None:
    """With the last line of the newest error; of a class alone where one is named; dying ends with its time."""
    die("a", "b")
    assert found("dead") is None
    assert found("dying", at_least=1) is None
    for _ in range(8):
        run_due_alarms()
        alarm_clock.advance(2 * MINUTE)
    assert Alarm.objects.filter(state="dead").count() == 2
    dead = found("dead", at_least=2, object_class="tests.Scripted")
    assert dead is not None
    assert dead.text.startswith("Dead alarms: 2. The newest says: ValueError: declined")
    assert found("dead", at_least=3) is None
    assert found("dead", object_class="batcher.Batcher") is None
    died = max(AlarmRun.objects.filter(outcome="dead").values_list("ended_at", flat=True))
    alarm_clock.move_to(died + 14 * MINUTE)
    dying = found("dying", at_least=2)
    assert dying is not None
    assert dying.text.startswith("Alarms that died in the last 15m: 2. The newest says: ValueError: declined")
    assert found("dying", at_least=1, object_class="batcher.Batcher") is None
    alarm_clock.move_to(died + 16 * MINUTE)
    assert found("dying", at_least=1) is None


def test_no_dispatcher(alarm_clock: FakeClock) -> None:
    """Until one passes, and again when it has not for a while."""
    assert found("dispatcher") is not None
    processes.sign(clock.now(), refused=False)
    assert found("dispatcher") is None


def test_fewer_workers_than_there_should_be(alarm_clock: FakeClock) -> None:
    """Those that were killed do not count, nor do dispatchers; those that are missing need not have been there."""
    assert found("workers") == Found("Workers that live: 0, of at least 1.")
    for name, threads, ago in (("a:1", 8, 2), ("b:1", 8, 50), ("c:1", None, 2)):
        seen = clock.now() - timedelta(seconds=ago)
        Process.objects.create(
            process=name, threads=threads, started_at=seen, last_seen_at=seen, code_since=seen, clock_skew=timedelta(0)
        )
    assert found("workers") is None
    assert found("workers", at_least=2) == Found(
        "Workers that live: 1, of at least 2. The last of the others was seen 50s ago."
    )


@pytest.mark.parametrize(
    ("name", "limits", "problem"),
    [
        (
            "later",
            {},
            "no condition 'later' is registered here; known: late, dead, dying, frequent_error, ",
        ),
        ("late", {"at_least": 3}, "the condition 'late' has no at_least"),
        ("dispatcher", {"span": MINUTE}, "the condition 'dispatcher' has no span"),
        ("parked", {"object_class": "tests.Scripted"}, "the condition 'parked' has no object_class"),
        ("dead", {"object_class": "shop.Gone"}, "no class of objects 'shop.Gone'"),
    ],
)
def test_what_it_refuses(name: str, limits: dict[str, object], problem: str) -> None:
    """A condition that is not there, and limits that it has not."""
    with pytest.raises(InvalidInput, match=problem):
        found(name, **limits)


def test_the_modules_of_apps_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often conditions are asked, a process searches its apps for their modules the first time only."""
    searched: list[str] = []
    monkeypatch.setattr(conditions, "autodiscover_modules", searched.append)
    conditions._import_those_of_apps.cache_clear()
    for _ in range(3):
        assert conditions.find("late").name == "late"
    assert searched == ["conditions"]
