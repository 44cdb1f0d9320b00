"""However many wake-ups are out, what is overdue is sent; however few are consumed, the broker is not filled."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db.models import F
from hypothesis import HealthCheck, given, strategies
from hypothesis import settings as limited
from pytest_django import Settings

import durable_objects
from durable_objects.alarms import backoff
from durable_objects.alarms.predicates import FORGOTTEN
from durable_objects.delivery import backlog, dispatcher, publisher
from durable_objects.execution.executor import fire
from durable_objects.tables import Alarm, AlarmRun, Object
from tests.models import Script, Scripted
from tests.support.another_class import make_of
from tests.support.examples import examples

pytestmark = pytest.mark.django_db(transaction=True)

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def alarms_of(
    count: int, due_in: timedelta, *, prefix: str = "o", model: type = Scripted, **columns: object
) -> list[int]:
    """Make ``count`` armed alarms, due ``due_in`` from now, each half a millisecond after the one before.

    Spans among the columns are from now.
    """
    now = durable_objects.now()
    kind = ContentType.objects.get_for_model(model, for_concrete_model=False)
    objects = Object.objects.bulk_create(Object(kind=kind, name=f"{prefix}{n}") for n in range(count))
    at = {key: now + value if isinstance(value, timedelta) else value for key, value in columns.items()}
    dues = [now + due_in + n * timedelta(microseconds=500) for n in range(count)]
    Alarm.objects.bulk_create(
        Alarm(object=obj, kind=kind, state="armed", generation=1, due_at=due, scheduled_at=due, **at)
        for obj, due in zip(objects, dues, strict=True)
    )
    return [obj.pk for obj in objects]


def ran(sent: timedelta, ended: timedelta | None = None, **columns: object) -> None:
    """Record a run whose wake-up was sent at ``sent`` from now."""
    now = durable_objects.now()
    obj, _ = Object.objects.get_or_create(
        kind=ContentType.objects.get_for_model(Scripted, for_concrete_model=False), name="ran"
    )
    at = now + sent
    AlarmRun.objects.create(
        object=obj, scheduled_at=at, due_at=at, wake_up_for=at, picked_up_at=at, started_at=at,
        ended_at=now + (sent if ended is None else ended), retry_count=0, fence=0, outcome="succeeded",
    )  # fmt: skip


def later(by: timedelta) -> None:
    """Let time go by: all that is on record is older by ``by``."""
    Alarm.objects.update(**{name: F(name) - by for name in ("due_at", "scheduled_at", "leased_until")})
    Alarm.objects.filter(wake_up_for__gt=FORGOTTEN + HOUR).update(wake_up_for=F("wake_up_for") - by)
    AlarmRun.objects.update(**{name: F(name) - by for name in ("due_at", "wake_up_for", "picked_up_at", "ended_at")})


def test_what_waits_for_its_time_keeps_nothing_back(
    script: Script, published: list[publisher.WakeUp], settings: Settings
) -> None:
    """With more than ``MAX_OUT`` wake-ups out ahead of their time, an overdue and a lost alarm are sent at once, and a
    far one ahead of its time.
    """
    settings.DURABLE_OBJECTS = {"MAX_OUT": 10}
    ran(-SECOND)
    alarms_of(25, 50 * SECOND, prefix="waiting", wake_up_for=50 * SECOND)
    [overdue] = alarms_of(1, -MINUTE, prefix="overdue")
    [lost] = alarms_of(1, -MINUTE, prefix="lost", wake_up_for=-MINUTE)
    [far] = alarms_of(1, 55 * SECOND, prefix="far")
    dispatcher.run_pass()
    assert {wake_up.object_id for wake_up in published} == {overdue, lost, far}


def test_what_calls_have_sent_keeps_nothing_back(
    script: Script, published: list[publisher.WakeUp], settings: Settings
) -> None:
    """Where calls send more than ``MAX_OUT`` that workers have not come to yet, an overdue alarm is sent even so."""
    settings.DURABLE_OBJECTS = {"MAX_OUT": 10}
    ran(-2 * SECOND, -timedelta(seconds=0.1))
    for ago in range(15):
        alarms_of(2, -ago * SECOND, prefix=f"busy{ago}-", wake_up_for=-ago * SECOND)
    [overdue] = alarms_of(1, -MINUTE, prefix="overdue")
    dispatcher.run_pass()
    assert overdue in {wake_up.object_id for wake_up in published}


def test_ahead_of_time_there_is_a_bound(script: Script, published: list[publisher.WakeUp], settings: Settings) -> None:
    """Ahead of their time at most ``MAX_OUT`` are sent, and then a tenth of it in each pass: the next ones first."""
    settings.DURABLE_OBJECTS = {"MAX_OUT": 20}
    pks = alarms_of(50, 30 * SECOND)
    assert [dispatcher.run_pass().published for _ in range(4)] == [20, 2, 2, 2]
    assert [wake_up.object_id for wake_up in published] == pks[:26]
    assert dispatcher.catch_up(SECOND).published == 2
    assert dispatcher.run_pass(share=False).published == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [7, 80])
def test_a_night_without_workers(
    script: Script, published: list[publisher.WakeUp], settings: Settings, number: int
) -> None:
    """Overdue alarms without a consumer cost ``MAX_OUT`` messages and one of a class at a time, of a few as well."""
    settings.DURABLE_OBJECTS = {"MAX_OUT": 20}
    alarms_of(number, -MINUTE)
    first = min(number, 20)
    dispatcher.run_pass()
    assert len(published) == first
    later(15 * MINUTE)
    for _ in range(8 * 4):
        dispatcher.run_pass()
        later(15 * MINUTE)
    few = number * backlog.TIMES if number <= backlog.FEW else 0
    assert len(published) <= first + few + 8 * 4
    assert max(retries(published)) - min(retries(published)) <= 1 or not few, "each time it is another one"
    assert max(retries(published)) <= (2 if not few else 1 + backlog.TIMES + 8 * 4 // number + 1)


def retries(published: list[publisher.WakeUp]) -> list[int]:
    """How often a wake-up was published for each object."""
    times: dict[int, int] = {}
    for wake_up in published:
        times[wake_up.object_id] = times.get(wake_up.object_id, 0) + 1
    return list(times.values())


@pytest.mark.slow
@pytest.mark.parametrize("number", [3, 40])
def test_the_pauses_double(script: Script, published: list[publisher.WakeUp], number: int) -> None:
    """What may have been lost is sent again after 10, 20, 40 … 300 s, one of many or each of a few."""
    alarms_of(number, -SECOND)
    sent = []
    for second in range(0, 400, 10):
        if dispatcher.run_pass().published:
            sent.append(second)
        later(10 * SECOND)
    assert sent[0] == 0
    pauses = [after - before for before, after in itertools.pairwise(sent)]
    assert pauses[0] in {10, 20}
    assert all(before <= after <= 2 * before + 10 for before, after in itertools.pairwise(pauses))
    assert max(pauses) <= 310


def test_all_flows_as_soon_as_one_is_consumed(
    script: Script, published: list[publisher.WakeUp], settings: Settings
) -> None:
    """When the broker has lost everything, the first wake-up that is consumed brings the others with it."""
    settings.DURABLE_OBJECTS = {"MAX_OUT": 100}
    alarms_of(80, -MINUTE, wake_up_for=-MINUTE)

    def consume(wake_up: publisher.WakeUp) -> None:
        published.append(wake_up)
        fire(wake_up.object_id, wake_up.wake_up_number, rescue=wake_up.rescue)

    publisher.register(consume, lambda: False)
    assert dispatcher.catch_up(10 * SECOND).published == 80
    assert AlarmRun.objects.count() == 80


def test_a_rescue_that_runs_is_consumed(script: Script, published: list[publisher.WakeUp]) -> None:
    """A probe whose handler takes long is consumed when it starts, not when it ends."""
    alarms_of(30, -MINUTE, wake_up_for=-MINUTE)
    assert dispatcher.run_pass().published == 1
    now = durable_objects.now()
    Alarm.objects.filter(pk=published[0].object_id).update(
        crashed_starts=1, leased_until=now + MINUTE, wake_up_for=None, wake_ups_lost=0, fence=1
    )
    assert dispatcher.run_pass().published == 29


def test_a_long_queue_is_not_doubled(script: Script, published: list[publisher.WakeUp]) -> None:
    """While workers are busy with what was sent first, what was sent later is not sent again, however long it takes."""
    alarms_of(40, -10 * MINUTE, wake_up_for=-10 * MINUTE)
    ran(-11 * MINUTE, -SECOND)
    for number in range(12):
        dispatcher.run_pass()
        later(10 * SECOND)
        ran(-11 * MINUTE - number * 10 * SECOND, -SECOND)
    assert len(published) <= 2


def test_one_class_that_nobody_knows_does_not_keep_another_back(
    script: Script, published: list[publisher.WakeUp], settings: Settings
) -> None:
    """Alarms of a class that no worker has take all the capacity; one of another class is sent at once even so."""
    from tests.models import Counter

    settings.DURABLE_OBJECTS = {"MAX_OUT": 20}
    alarms_of(20, -2 * MINUTE, prefix="unknown", wake_up_for=-MINUTE)
    [other] = alarms_of(1, -MINUTE, model=Counter, prefix="good")
    dispatcher.run_pass()
    assert other in {wake_up.object_id for wake_up in published}


@dataclass(frozen=True)
class Row:
    """How an alarm may stand: due and sent in seconds from now; ``how`` names what else is about it."""

    due: int
    sent: int | None
    wake_ups_lost: int
    how: str

    def make(self, number: int) -> int:
        """The object of such an alarm."""
        columns: dict[str, Any] = {"wake_ups_lost": self.wake_ups_lost}
        columns |= {"wake_up_for": None if self.sent is None else self.sent * SECOND}
        columns |= {"leased_until": MINUTE, "leased_generation": 1} if self.how == "leased" else {}
        columns |= {"leased_until": -SECOND, "leased_generation": 1} if self.how == "left behind" else {}
        columns |= {"retry_count": 2} if self.how == "retrying" else {}
        [pk] = alarms_of(1, self.due * SECOND, prefix=f"{self.how}{number}", **columns)
        if self.how in {"dead", "idle"}:
            Alarm.objects.filter(pk=pk).update(state=self.how)
        if self.how == "parked":
            ghost, _ = ContentType.objects.get_or_create(app_label="tests", model="ghost")
            make_of(ghost, pk=pk)
        return pk


PASS = 5 * SECOND
SECONDS = strategies.integers(-400, 90)
HOW = ["plain", "leased", "left behind", "retrying", "parked", "dead", "idle", "deaf"]
ROWS = strategies.lists(
    strategies.builds(
        Row, SECONDS, strategies.none() | SECONDS, strategies.integers(0, 6), strategies.sampled_from(HOW)
    ),
    max_size=20,
)


@given(rows=ROWS, overdue=strategies.integers(1, 60), was_sent=strategies.booleans(), most=strategies.integers(1, 12))
@limited(max_examples=examples(15), deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.usefixtures("script")
def test_whatever_is_out_what_is_overdue_is_sent(  # noqa: PLR0917  pytest and Hypothesis name them
    published: list[publisher.WakeUp], settings: Settings, rows: list[Row], overdue: int, was_sent: bool, most: int
) -> None:
    """Whatever other alarms there are, and whichever of them nobody can run, an overdue one is sent within a bounded
    number of passes, as long as what can be run is run.
    """
    settings.DURABLE_OBJECTS = {"MAX_OUT": most}
    Object.objects.all().delete()
    published.clear()
    pks = [row.make(number) for number, row in enumerate(rows)]
    deaf = {pk for pk, row in zip(pks, rows, strict=True) if row.how == "deaf"}
    [wanted] = alarms_of(1, -overdue * SECOND, prefix="wanted", wake_up_for=-overdue * SECOND if was_sent else None)
    # A wake-up that nobody consumes may take the place of another until it counts as lost: five minutes at most.
    for _ in range(12 + 4 * len(rows) + len(deaf) * (backoff.LOST_AFTER_AT_MOST // PASS)):
        before = len(published)
        dispatcher.run_pass()
        if any(wake_up.object_id == wanted for wake_up in published):
            break
        for wake_up in published[before:]:
            if wake_up.object_id not in deaf and wake_up.at <= durable_objects.now():
                fire(wake_up.object_id, wake_up.wake_up_number, rescue=wake_up.rescue)
        later(PASS)
    else:
        pytest.fail(f"never sent; {[(wake_up.object_id, wake_up.wake_up_number) for wake_up in published]}")
    Object.objects.all().delete()
    ContentType.objects.filter(model="ghost").delete()
