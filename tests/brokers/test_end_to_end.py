"""Alarms on real worker processes, each pool on each broker, against PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import LiteralString

import pytest

from tests.brokers.conftest import Running, set_reminders

WITHIN = 20.0
#: A rescue comes after 10 s: what happens sooner happened by the first message.
BEFORE_ANY_RESCUE = 8.0

COMBINATIONS = [
    pytest.param(("redis", "prefork"), marks=pytest.mark.services("postgresql", "redis")),
    pytest.param(("rabbitmq", "threads"), marks=pytest.mark.services("postgresql", "rabbitmq")),
    pytest.param(("redis", "threads"), marks=[pytest.mark.services("postgresql", "redis"), pytest.mark.chaos]),
    pytest.param(("rabbitmq", "prefork"), marks=[pytest.mark.services("postgresql", "rabbitmq"), pytest.mark.chaos]),
]
pytestmark = pytest.mark.parametrize("running", COMBINATIONS, indirect=True, scope="module", ids="-".join)

RUNS: LiteralString = (
    "SELECT o.name, r.outcome, r.retry_count, EXTRACT(epoch FROM r.started_at - r.due_at)::float, "
    "EXTRACT(epoch FROM r.started_at)::float "
    "FROM durable_objects_alarmrun r JOIN durable_objects_object o ON o.id = r.object_id "
    "WHERE o.name LIKE %s ORDER BY r.id"
)


def test_many_alarms_of_another_process_run_once_each(running: Running) -> None:
    """100 alarms that a process without a worker has set all run, once each, none early, and none needs a rescue."""
    set_reminders(running.site, "many", 100, after=2, step=0.01)
    runs = running.site.wait_for_rows(RUNS, "many%", seconds=WITHIN, until=lambda rows: len(rows) >= 100)
    assert len({name for name, *_ in runs}) == len(runs) == 100
    assert {outcome for _, outcome, *_ in runs} == {"succeeded"}
    lateness = [late for *_, late, _ in runs]
    assert min(lateness) >= 0
    assert max(lateness) < BEFORE_ANY_RESCUE


def alone(running: Running) -> int:
    """How many alarms have come to the worker in a message of their own."""
    return sum("fire_alarm[" in line and "received" in line for line in running.worker.text().splitlines())


@pytest.fixture
def dispatched(running: Running) -> Iterator[Running]:
    """The same with a dispatcher: on a busy machine whoever sets many alarms has no time to send a message for each."""
    dispatcher = running.site.dispatcher()
    yield running
    dispatcher.kill()


def test_many_alarms_of_a_class_with_groups_share_messages(dispatched: Running) -> None:
    """300 alarms that are set by one call come in a few messages, run once each, none early, without a rescue."""
    before = alone(dispatched)
    dispatched.site.execute(
        "from datetime import timedelta\nfrom tests.models import Ticker\n"
        "Ticker.objects.set_alarms({f'grouped{n}': timedelta(seconds=3) for n in range(300)})"
    )
    runs = dispatched.site.wait_for_rows(RUNS, "grouped%", seconds=WITHIN, until=lambda rows: len(rows) >= 300)
    assert len({name for name, *_ in runs}) == len(runs) == 300
    lateness = [late for *_, late, _ in runs]
    assert min(lateness) >= 0
    assert max(lateness) < BEFORE_ANY_RESCUE
    dispatched.worker.says("durable_objects.fire_alarms")
    assert alone(dispatched) - before < 150


def test_many_alarms_of_ordinary_classes_share_messages(dispatched: Running) -> None:
    """100 alarms that are set by one call come some in a message, run once each, none early, without a rescue."""
    dispatched.site.execute(
        "from datetime import timedelta\nfrom tests.models import Once\n"
        "Once.objects.set_alarms({f'ordinary{n}': timedelta(seconds=3) for n in range(100)})"
    )
    runs = dispatched.site.wait_for_rows(RUNS, "ordinary%", seconds=2 * WITHIN, until=lambda rows: len(rows) >= 100)
    assert len({name for name, *_ in runs}) == len(runs) == 100
    lateness = [late for *_, late, _ in runs]
    assert min(lateness) >= 0
    assert max(lateness) < BEFORE_ANY_RESCUE
    dispatched.worker.says("durable_objects.fire_alarms")


def test_those_that_fail_in_one_message_are_retried_one_by_one(dispatched: Running) -> None:
    """Of 70 that share messages each is run again after 2 s, without a rescue, and dead when no retry is left."""
    dispatched.site.execute(
        "from datetime import timedelta\nfrom tests.models import Impatient\n"
        "Impatient.objects.set_alarms({f'hopeless{n}': timedelta(seconds=2) for n in range(70)})"
    )
    runs = dispatched.site.wait_for_rows(RUNS, "hopeless%", seconds=2 * WITHIN, until=lambda rows: len(rows) >= 140)
    by_name = {name: [run for run in runs if run[0] == name] for name, *_ in runs}
    assert {tuple((outcome, count) for _, outcome, count, *_ in each) for each in by_name.values()} == {
        (("failed", 0), ("dead", 1))
    }
    gaps = [second[4] - first[4] for first, second in by_name.values()]
    assert min(gaps) >= 2
    assert max(gaps) < BEFORE_ANY_RESCUE


def test_what_is_due_now_does_not_wait_for_what_is_due_soon(running: Running) -> None:
    """Alarms for less than a second from now keep no process of the worker busy until then."""
    running.site.execute(
        "from datetime import timedelta\nfrom tests.models import Once\n"
        "Once.objects.get_by_name('warm').storage.set_alarm(timedelta(0))\n"
        "for n in range(16): Once.objects.get_by_name(f'soon{n}').storage.set_alarm(timedelta(seconds=0.95))\n"
        "Once.objects.get_by_name('soonest').storage.set_alarm(timedelta(0))"
    )
    runs = running.site.wait_for_rows(RUNS, "soon%", seconds=WITHIN, until=lambda rows: len(rows) == 17)
    started = {name: at for name, *_, at in runs}
    assert started.pop("soonest") < min(started.values())
    assert max(late for *_, late, _ in runs) < BEFORE_ANY_RESCUE


def test_the_first_retry_comes_after_two_seconds(running: Running) -> None:
    """An alarm that fails is run again 2 s later, brought by the broker, and is dead when its retries are used up."""
    running.site.execute(
        "from datetime import timedelta\nfrom tests.models import Impatient\n"
        "Impatient.objects.get_by_name('impatient').storage.set_alarm(timedelta(0))"
    )
    runs = running.site.wait_for_rows(RUNS, "impatient", seconds=WITHIN, until=lambda rows: len(rows) == 2)
    assert [(outcome, count) for _, outcome, count, *_ in runs] == [("failed", 0), ("dead", 1)]
    [gap] = [later - earlier for earlier, later in itertools.pairwise(started for *_, started in runs)]
    assert 2 <= gap < BEFORE_ANY_RESCUE
    running.worker.says("raised expected: AlarmDied(")  # Celery's word for a failure that it need not report


def test_a_class_says_when_its_retries_come(running: Running) -> None:
    """After 3 s, up to a tenth more, the failed one runs again, is snoozed for 2 s, and gives up, without a rescue."""
    running.site.execute(
        "from datetime import timedelta\nfrom tests.models import Fickle\n"
        "Fickle.objects.get_by_name('fickle').storage.set_alarm(timedelta(0))"
    )
    runs = running.site.wait_for_rows(RUNS, "fickle", seconds=WITHIN, until=lambda rows: len(rows) == 3)
    assert [(outcome, count) for _, outcome, count, *_ in runs] == [("failed", 0), ("snoozed", 1), ("dead", 1)]
    retry, again = [later - earlier for earlier, later in itertools.pairwise(started for *_, started in runs)]
    assert retry >= 3
    assert again >= 2
    assert max(late for *_, late, _ in runs) < BEFORE_ANY_RESCUE


def test_connections_that_the_server_dropped_are_replaced(running: Running) -> None:
    """Workers keep their database connections; one that died is noticed before a task uses it: no rescue is needed."""
    set_reminders(running.site, "before", 4, after=0)
    running.site.wait_for_rows(RUNS, "before%", seconds=WITHIN, until=lambda rows: len(rows) == 4)
    running.site.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    set_reminders(running.site, "after", 4, after=0)
    runs = running.site.wait_for_rows(RUNS, "after%", seconds=WITHIN, until=lambda rows: len(rows) == 4)
    assert max(late for *_, late, _ in runs) < BEFORE_ANY_RESCUE
