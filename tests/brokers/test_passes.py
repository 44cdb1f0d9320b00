"""The dispatcher while the broker is in trouble, and several of them at once."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection

from durable_objects.delivery import dispatcher, publisher
from durable_objects.tables import Alarm
from tests.models import Impatient

pytestmark = pytest.mark.django_db(transaction=True)


class Broker:
    """Stands in for Celery: notes the wake-ups, or refuses them."""

    def __init__(self) -> None:
        self.tried = 0
        self.works = True
        self.taken: list[tuple[int, int]] = []

    def __call__(self, wake_up: publisher.WakeUp) -> None:
        self.tried += 1
        if not self.works:
            raise ConnectionRefusedError("nobody is there")
        self.taken.append((wake_up.object_id, wake_up.wake_up_number))


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    """The broker that wake-ups are published to; it has no consumer."""
    broker = Broker()
    monkeypatch.setattr(publisher, "_publisher", publisher._Publisher(publish=broker))
    return broker


def arm(count: int) -> None:
    """Alarms that are due now."""
    for number in range(count):
        Impatient.objects.get_by_name(f"impatient {number}").storage.set_alarm(timedelta(0))


def test_a_broken_broker_is_asked_once_by_callers_and_once_by_each_pass(broker: Broker) -> None:
    """The first refusal spares all other callers; a pass tries with a single wake-up, and goes on when it works."""
    broker.works = False
    arm(5)
    assert broker.tried == 1
    assert dispatcher.run_pass() == dispatcher.Pass(pruned=0)
    assert broker.tried == 2
    assert not Alarm.objects.filter(wake_up_for__isnull=False).exists()
    broker.works = True
    assert dispatcher.run_pass().published == 5
    assert broker.tried == 7
    assert publisher.can_publish()


def test_nothing_is_marked_that_was_not_sent(broker: Broker) -> None:
    """A wake-up that was refused does not count as out: the next pass sends it."""
    broker.works = False
    arm(1)
    assert Alarm.objects.get().wake_up_for is None


def test_five_dispatchers_publish_each_alarm_once(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes at the same time share the alarms out: none is published twice, none is left."""
    monkeypatch.setattr(publisher, "_publisher", publisher._Publisher())
    arm(60)
    monkeypatch.setattr(publisher, "_publisher", publisher._Publisher(publish=broker))
    start, failures = threading.Barrier(5), []

    def run() -> None:
        try:
            start.wait(10)
            dispatcher.run_pass()
        except Exception as error:  # noqa: BLE001  raised by the test's own thread
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    dispatcher.run_pass()  # for those that another pass had locked when the last one looked
    assert failures == []
    assert len(broker.taken) == len(set(broker.taken)) == 60
