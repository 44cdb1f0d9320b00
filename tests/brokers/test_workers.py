"""Broker and workers are asked why nobody takes a wake-up: by the doctor and ``alarms explain``, never by a page."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils.timezone import now

from durable_objects.database import clock as engine_clock
from durable_objects.database import installation
from durable_objects.delivery import brokers, workers
from durable_objects.delivery.brokers import Broker, Flaw
from durable_objects.doctor import Finding, delivery
from durable_objects.operations.explain import explain
from durable_objects.tables import Alarm, Object
from tests.models import Script, Scripted

pytestmark = pytest.mark.django_db(transaction=True)

OURS, THEIRS = "0" * 16, "f" * 16
SECOND = timedelta(seconds=1)


@pytest.fixture
def out(set_celery: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """An object whose alarm is due since two seconds, with its wake-up in a Redis that answers."""
    Scripted.script = Script()
    set_celery(broker_url="redis://h")
    monkeypatch.setattr(workers, "fingerprint", lambda: OURS)
    monkeypatch.setattr(brokers, "unreachable", lambda asked, seconds: {})
    monkeypatch.setattr(brokers, "pass_queue", lambda: None)  # of which other tests are
    obj = Scripted.objects.get_by_name("a")
    obj.storage.set_alarm(timedelta(hours=1))
    since = engine_clock.now() - 2 * SECOND
    Alarm.objects.filter(pk=obj.pk).update(due_at=since, scheduled_at=since, wake_up_number=3, wake_up_for=since)
    return obj


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``listen(("w@a", "alarms", OURS))``: workers that answer, with their queue and their installation."""

    def answer(*listening: tuple[str, str, str | None]) -> None:
        def ask(command: str, seconds: float, **how: Any) -> list[tuple[str, Any]]:
            if command == "active_queues":
                return [(worker, [{"name": queue}]) for worker, queue, _ in listening]
            asked = [each for each in listening if each[0] in how["destination"]]
            assert how["limit"] == len(asked), "it is not known how many answer, so all the time is waited for"
            return [(worker, {"installation": whose}) for worker, _, whose in asked if whose != "unknown"]

        monkeypatch.setattr(workers, "_ask", ask)

    return answer


def printed_by_explain() -> str:
    """What ``alarms explain`` prints on the object."""
    printed = StringIO()
    call_command("alarms", "explain", "tests.Scripted", "a", stdout=printed)
    return printed.getvalue()


def found() -> dict[str, Finding]:
    """What the doctor finds about queues, by its code."""
    return {finding.code: finding for finding in delivery._queues(engine_clock.now())}


def test_a_worker_on_another_queue_is_the_reason(out: Scripted, listen: Callable[..., None]) -> None:
    """The queue and the command are named, in the doctor's words, and no worker is called busy."""
    listen(("w@a", "celery", OURS), ("w@b", "mail", OURS))
    text = printed_by_explain()
    assert "It goes to the queue 'alarms'." in text
    assert "None of the 2 workers that answer consumes from it" in text
    assert "celery -A PROJECT worker -Q alarms" in text
    assert "busy" not in text
    assert "A worker takes it" not in text
    assert "None of the 2 workers that answer consumes from it" in found()["queue"].text


def test_nobody_answers(out: Scripted, listen: Callable[..., None]) -> None:
    """Where no worker answers, that is shown; the wake-up is with no worker, as far as anybody knows."""
    listen()
    text = printed_by_explain()
    assert "No worker answered within 1 s." in text
    assert "no worker has taken it" in text
    assert "celery -A PROJECT worker -Q alarms" in text


@pytest.mark.parametrize("late", [False, True], ids=["out", "lost"])
def test_a_worker_that_answers_may_be_busy(out: Scripted, listen: Callable[..., None], late: bool) -> None:
    """With a worker on the queue nothing else is blamed, and nobody is asked whether there is one."""
    listen(("w@a", "alarms", OURS), ("w@b", "mail", THEIRS))
    if late:
        Alarm.objects.update(wake_up_for=now() - timedelta(minutes=1))
    text = printed_by_explain()
    assert "A worker that consumes from it has answered." in text
    assert ("or a worker that is busy" in text) is not late
    assert "does a worker consume" not in text
    assert "another database" not in text
    assert found() == {}


def test_a_broker_that_is_away_is_the_reason(
    out: Scripted, listen: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that does not answer is named; workers are not asked by it."""
    listen(("w@a", "alarms", OURS))
    monkeypatch.setattr(brokers, "unreachable", lambda asked, seconds: dict.fromkeys(asked, "refused"))
    text = printed_by_explain()
    assert f"The broker does not answer: {Broker('redis://h')} (refused)." in text
    assert "A worker" not in text


@pytest.mark.parametrize("ahead", [False, True], ids=["due", "ahead of its time"])
def test_what_this_process_lacks_is_the_reason(out: Scripted, monkeypatch: pytest.MonkeyPatch, ahead: bool) -> None:
    """A process without the project's Celery app promises no worker: it has the line to write (W018)."""
    if ahead:
        Alarm.objects.update(due_at=now() + 20 * SECOND, wake_up_for=now() + 20 * SECOND)
    monkeypatch.setattr(brokers, "app_flaw", lambda: Flaw("This process does not use your app.", "Import the app."))
    monkeypatch.setattr(workers, "_ask", None)
    text = printed_by_explain()
    assert "This process does not use your app." in text
    assert "next  Import the app." in text
    assert "A worker" not in text


def test_a_page_asks_nobody(out: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``ask`` broker and workers are left alone, and the command that asks them is named."""
    monkeypatch.setattr(workers, "_ask", None)
    monkeypatch.setattr(brokers, "unreachable", None)
    text = " ".join(explain(Object.objects.get(), engine_clock.now()).next)
    assert "`manage.py alarms explain` asks the broker and the workers" in text


@pytest.mark.parametrize("ours_too", [False, True], ids=["theirs alone", "ours as well"])
def test_a_worker_of_another_project(out: Scripted, listen: Callable[..., None], ours_too: bool) -> None:
    """Two projects on one broker with one queue take each other's wake-ups: doctor and explanation name the worker."""
    listen(("w@theirs", "alarms", THEIRS), *([("w@ours", "alarms", OURS)] if ours_too else []))
    findings = found()
    flaw = findings["other_installation"]
    assert flaw.is_trouble
    assert flaw.text.startswith("w@theirs consumes from the queue 'alarms' and works on another database")
    assert "a vhost on RabbitMQ" in flaw.advice
    assert ("queue" in findings) is not ours_too
    text = printed_by_explain()
    assert flaw.text in text
    assert flaw.advice in text
    assert "A worker takes it" not in text


def test_two_workers_of_one_name(out: Scripted, listen: Callable[..., None]) -> None:
    """Two projects on one machine start workers of the same name: the other one is found all the same."""
    listen(("celery@here", "alarms", OURS), ("celery@here", "alarms", THEIRS))
    assert found().keys() == {"other_installation"}


@pytest.mark.parametrize("whose", [None, "unknown"], ids=["its database is away", "an older one"])
def test_a_worker_that_does_not_know_is_not_accused(
    out: Scripted, listen: Callable[..., None], whose: str | None
) -> None:
    """A worker whose database is away, or that does not know the question, counts as ours."""
    listen(("w@a", "alarms", whose))
    assert found() == {}


@pytest.fixture
def recorder() -> MigrationRecorder:
    """Where migrations are on record, whether the tests' database was made by them or not."""
    found = MigrationRecorder(connection)
    found.ensure_schema()
    return found


def test_each_database_has_a_fingerprint(recorder: MigrationRecorder) -> None:
    """It stays while migrations are added; a database in which they were applied at another time has its own."""
    recorder.record_unapplied("durable_objects", "0001_initial")
    was = recorder.migration_qs.filter(app="durable_objects")
    was.delete()
    assert installation.fingerprint() is None
    recorder.record_applied("durable_objects", "0001_initial")
    first = installation.fingerprint()
    recorder.record_applied("durable_objects", "0002_more")
    assert first is not None
    assert installation.fingerprint() == first == workers._own_within(10)
    recorder.migration_qs.filter(app="durable_objects", name="0001_initial").update(applied=now())
    assert installation.fingerprint() != first


def test_a_worker_answers_without_a_silent_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its database is waited for a moment only: meanwhile it runs nothing."""
    monkeypatch.setattr(workers, "fingerprint", lambda: time.sleep(2))
    began = time.monotonic()
    assert workers._own_within(0.1) is None
    assert time.monotonic() - began < 1.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "broker_name",
    [
        pytest.param("redis", marks=pytest.mark.services("redis")),
        pytest.param("rabbitmq", marks=[pytest.mark.services("rabbitmq"), pytest.mark.chaos]),
    ],
)
def test_two_real_projects_on_one_broker(broker_name: str, tmp_path: Path) -> None:
    """Each project's doctor finds the other one's worker on its queue, and not its own."""
    from tests.brokers.conftest import own_broker
    from tests.support.site_processes import Site

    ask = "from durable_objects.delivery.workers import listening\nfor each in listening(['alarms'], 5): print(*each)"
    with own_broker(broker_name, tmp_path) as broker:
        folders = [tmp_path / name for name in ("one", "other")]
        for folder in folders:
            folder.mkdir()
        one, other = (Site(folder, f"sqlite:///{folder / 'a.sqlite3'}", broker.url) for folder in folders)
        with one, other:
            for site in (one, other):
                site.migrate()
            one.worker("mine", pool="threads")
            other.worker("theirs", pool="threads")
            for site, names in ((one, ("mine", "theirs")), (other, ("theirs", "mine"))):
                answers = {line.split("@")[0]: line.split()[-1] for line in site.execute(ask).splitlines()}
                assert answers == dict(zip(names, ("True", "False"), strict=True))
