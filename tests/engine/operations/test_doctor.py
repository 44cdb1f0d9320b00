"""``alarms doctor``: what it finds, what it repairs, and how it exits."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.checks import ERROR, WARNING, CheckMessage
from django.core.checks.registry import registry
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from django.db.utils import ConnectionHandler
from django.utils.module_loading import autodiscover_modules
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from batcher.models import Batcher
from durable_objects import checks, doctor, health
from durable_objects.database import clock as engine_clock
from durable_objects.database import connection as engine_connection
from durable_objects.database import supported
from durable_objects.doctor import environment
from durable_objects.doctor.finding import Question
from durable_objects.management.commands import alarms
from durable_objects.tables import Alarm, AlarmRun, Dispatcher, Entry
from durable_objects.testing import FakeClock, run_due_alarms
from project.environment import database
from tests.models import Impatient, Script, Scripted

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


@pytest.fixture
def healthy(clock: FakeClock) -> FakeClock:
    """A site where somebody dispatches, seconds ago."""
    Dispatcher.objects.create(process="web-1:1", started_at=clock.now(), last_pass_at=clock.now())
    return clock


def ask(*options: str, **more: Any) -> tuple[int, list[dict[str, Any]]]:
    """The doctor's exit code and lines."""
    out = StringIO()
    code = 0
    try:
        call_command("alarms", "doctor", "--json", *options, stdout=out, **more)
    except CommandError as error:
        code = error.returncode
    return code, [json.loads(line) for line in out.getvalue().splitlines()]


def codes(lines: list[dict[str, Any]]) -> set[str]:
    """What was found."""
    return {line["code"] for line in lines if "trouble" in line}


def test_a_healthy_site(healthy: FakeClock, script: Script) -> None:
    """With nothing wrong the doctor says so and exits with 0."""
    Scripted.objects.get_by_name("a").storage.set_alarm(MINUTE)
    assert ask() == (0, [{"ok": True}])


def test_late_and_why(clock: FakeClock, script: Script) -> None:
    """Alarms that are late are counted, with the cause in words; health says the same, without names of hosts."""
    for name in ("a", "b"):
        Scripted.objects.get_by_name(name).storage.set_alarm(timedelta(0))
    Dispatcher.objects.create(process="web-1:1", started_at=clock.now(), last_pass_at=clock.now())
    assert health.report()["cause"] is None
    clock.advance(timedelta(seconds=95))
    code, lines = ask()
    assert (code, codes(lines)) == (1, {"late", "dispatcher"})
    figures = health.report()
    cause = "2 alarms are late, the oldest by 1m 35s. No dispatcher has made a pass for 1m 35s: is beat running?"
    assert figures["cause"].startswith(cause)
    assert lines[0]["text"] == figures["cause"]
    assert "web-1" not in json.dumps(figures)
    assert (figures["status"], figures["overdue"], figures["armed"]) == ("late", 2, 2)


def test_what_a_new_project_forgets(clock: FakeClock) -> None:
    """A class without a migration is trouble; that nobody has dispatched yet is said before an alarm waits for it."""
    ContentType.objects.get_for_model(Impatient, for_concrete_model=False).delete()
    ContentType.objects.clear_cache()
    code, lines = ask()
    found = {line["code"]: line for line in lines if "trouble" in line}
    assert code == 1
    assert "tests.Impatient" in found["not_migrated"]["text"]
    assert found["not_migrated"]["trouble"]
    assert not found["dispatcher"]["trouble"]


def test_dead_ones_are_news_but_no_trouble(healthy: FakeClock) -> None:
    """A dead alarm is reported with its error; it was kept as promised, so the exit code stays 0."""
    Impatient.objects.get_by_name("a").storage.set_alarm(timedelta(0))
    run_due_alarms()
    healthy.advance(timedelta(seconds=2))
    run_due_alarms()
    code, lines = ask()
    assert (code, codes(lines)) == (0, {"dead"})
    assert "ValueError: no patience" in lines[0]["text"]


def test_impossible_rows_are_repaired(healthy: FakeClock, script: Script) -> None:
    """An armed alarm without a due time and a lease of the dead are trouble; --fix repairs both, then all is well."""
    timeless, leased = (Scripted.objects.get_by_name(name) for name in ("timeless", "leased"))
    for obj in (timeless, leased):
        obj.storage.set_alarm(timedelta(hours=1))
    Alarm.objects.filter(pk=timeless.pk).update(due_at=None)
    Alarm.objects.filter(pk=leased.pk).update(leased_until=healthy.now() - 2 * MINUTE, leased_generation=1, fence=3)
    code, lines = ask()
    assert (code, codes(lines)) == (1, {"no_due_time", "lease"})
    code, lines = ask("--fix")
    assert code == 0
    assert [line.get("fixed") for line in lines] == ["removed leases: 1", "made due now: 1", None]
    assert Alarm.objects.get(pk=timeless.pk).due_at == healthy.now()
    after = Alarm.objects.get(pk=leased.pk)
    assert (after.leased_until, after.fence) == (None, 4)


def test_history_above_its_bounds_is_pruned(healthy: FakeClock, obj: Scripted) -> None:
    """A history that nobody pruned is trouble, and pruned by --fix to its bounds."""
    obj.save()
    at = healthy.now()
    moments = dict.fromkeys(["scheduled_at", "due_at", "picked_up_at", "started_at", "ended_at"], at)
    rows = [AlarmRun(object_id=obj.pk, retry_count=0, fence=0, outcome="succeeded", **moments) for _ in range(120)]
    AlarmRun.objects.bulk_create(rows)
    assert codes(ask()[1]) == {"history"}
    assert ask("--fix")[0] == 0
    assert AlarmRun.objects.count() == 100


def test_items_left_waiting_are_sent(healthy: FakeClock) -> None:
    """A batcher with items and no alarm is trouble unless somebody cancelled it; --fix sends them."""
    for name in ("stranded", "cancelled", "fine"):
        Batcher.objects.get_by_name(name).add_item("x")
    Batcher.objects.get_by_name("cancelled").cancel_alarm()
    stranded = Batcher.objects.get_by_name("stranded")
    stranded.storage.delete_alarm()
    code, lines = ask()
    assert (code, codes(lines)) == (1, {"batcher.stranded"})
    assert "'stranded'" in lines[0]["text"]
    assert ask("--fix")[0] == 0
    assert stranded.get_alarm_time() == healthy.now()
    assert Entry.objects.filter(object_id=stranded.pk, key__startswith="item:").exists()


def test_beats_entry_is_made_and_enabled(clock: FakeClock, script: Script) -> None:
    """With nobody dispatching a disabled entry is trouble and enabled by --fix, a missing one is made."""
    Scripted.objects.get_by_name("a").storage.set_alarm(timedelta(hours=1))
    PeriodicTask.objects.filter(task="durable_objects.dispatch_alarms").update(enabled=False)
    lines = ask()[1]
    assert codes(lines) == {"dispatcher", "beat_entry"}
    assert "is disabled; enable it" in lines[0]["text"]
    ask("--fix")
    assert PeriodicTask.objects.get(task="durable_objects.dispatch_alarms").enabled
    PeriodicTask.objects.filter(task="durable_objects.dispatch_alarms").delete()
    assert "beat has no entry for it" in ask()[1][0]["text"]
    ask("--fix")
    assert PeriodicTask.objects.get(task="durable_objects.dispatch_alarms").enabled


SOUND: dict[str, Any] = {
    "task_always_eager": False,
    "task_publish_retry_policy": {"max_retries": 1},
    "result_backend": None,
    "broker": "redis",
    "worker_consumer": "durable_objects.worker:Consumer",
    "broker_transport_options": {"visibility_timeout": 600, "socket_timeout": 0.4, "socket_connect_timeout": 0.4},
}
RABBIT = {
    "broker": "amqp",
    "broker_transport_options": {"confirm_publish": True, "read_timeout": 1, "write_timeout": 1},
}


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, set()),
        (RABBIT, set()),
        ({"task_always_eager": True}, {"broker_eager"}),
        (
            {"broker_transport_options": {**SOUND["broker_transport_options"], "visibility_timeout": 60}},
            {"broker_visibility"},
        ),
        (
            {"broker_transport_options": {**SOUND["broker_transport_options"], "visibility_timeout": None}},
            {"broker_visibility"},
        ),
        (
            {"broker_transport_options": {**SOUND["broker_transport_options"], "visibility_timeout": "1h"}},
            {"broker_visibility"},
        ),
        ({"broker_transport_options": {}}, {"broker_hangs"}),
        ({**RABBIT, "broker_transport_options": {}}, {"broker_confirms", "broker_hangs"}),
        ({"task_publish_retry_policy": {"max_retries": None}}, {"broker_retries"}),
        ({"worker_consumer": "celery.worker.consumer:Consumer"}, {"broker_worker"}),
        ({"broker": "memory", "worker_consumer": "celery.worker.consumer:Consumer"}, set()),
        ({"result_backend": "redis://"}, {"broker_results"}),
    ],
)
def test_broker_settings(changed: dict[str, Any], found: set[str]) -> None:
    """Settings of Celery that lose wake-ups or hold callers up are found; the project's kind are not."""
    assert {finding.code for finding in environment.judge_broker({**SOUND, **changed})} == found


@pytest.mark.parametrize(
    ("level", "silenced", "found"),
    [(ERROR, [], [True]), (WARNING, [], [False]), (ERROR, ["durable_objects.E999"], [])],
    ids=["an error", "a warning", "silenced"],
)
@pytest.mark.usefixtures("healthy")
def test_what_check_reports(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, level: int, silenced: list[str], found: list[bool]
) -> None:
    """What ``manage.py check`` says of the engine is in the doctor's answer too: an error is trouble."""
    message = CheckMessage(level, "DATABASE_ROUTERS write elsewhere", hint="Begin them", id="durable_objects.E999")
    monkeypatch.setattr(checks, "_check_routers", lambda: [message])
    settings.SILENCED_SYSTEM_CHECKS = silenced
    lines = [line for line in ask()[1] if line.get("code") == "check"]
    assert [line["trouble"] for line in lines] == found
    assert all("elsewhere (durable_objects.E999)" in line["text"] and line["advice"] == "Begin them" for line in lines)


def test_clocks_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database whose clock is 5 s off this machine's is trouble, with the direction; one that agrees is not."""
    assert [finding.code for finding in environment._clock_skew(engine_clock.now())] == []
    honest = engine_clock.now
    monkeypatch.setattr(engine_clock, "now", lambda: honest() + timedelta(seconds=5))
    (finding,) = environment._clock_skew(honest())
    assert re.search(r" 5(\.\d+)?s behind the database's", finding.text)


def only(monkeypatch: pytest.MonkeyPatch, *asked: Question) -> None:
    """Have these questions in place of the apps' own, which register themselves once: by an import, made first."""
    autodiscover_modules("doctor")
    monkeypatch.setattr(doctor, "_of_apps", [*asked])


def test_an_app_may_ask(healthy: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that an app registers is asked with the database's now, and its findings are reported."""

    def asked(now: Any) -> Iterator[doctor.Finding]:
        yield doctor.Finding("shop.orphans", f"orphans at {now}", "Adopt them.", is_trouble=False)

    only(monkeypatch)
    doctor.question(asked)
    doctor.question(asked)
    assert [line["text"] for line in ask()[1][:-1]] == [f"orphans at {healthy.now()}"]


def test_a_question_that_raises_is_a_finding(healthy: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one question raises, an app's own too, keeps nobody from the answers of the others."""

    def carts(now: Any) -> Iterator[doctor.Finding]:
        raise ZeroDivisionError("no carts")

    def orders(now: Any) -> Iterator[doctor.Finding]:
        yield doctor.Finding("shop.orders", "One is late.", "Send it.")

    only(monkeypatch, carts, orders)
    found = {finding.code: finding for finding in doctor.examine(healthy.now())}
    assert "carts raised ZeroDivisionError: no carts" in found["question"].text
    assert found["question"].is_trouble
    assert "shop.orders" in found


@contextmanager
def a_check_that_fails() -> Iterator[None]:
    """An error that another app's check reports."""

    def foreign(app_configs: object, **kwargs: Any) -> list[CheckMessage]:
        return [CheckMessage(ERROR, "The shop has no till.", "Buy one.", id="shop.E001")]

    before = set(registry.registered_checks)
    registry.register(foreign)
    try:
        yield
    finally:
        registry.registered_checks &= before


def test_no_error_of_a_check_ends_the_doctor(healthy: FakeClock, set_celery: Callable[..., None]) -> None:
    """What ends every other command is a finding of the doctor's, an error of another app's too; the rest is asked."""
    set_celery(broker_url="reddis://h")
    PeriodicTask.objects.all().delete()
    with a_check_that_fails():
        with pytest.raises(SystemCheckError):
            call_command("alarms", "list", skip_checks=False)
        code, lines = ask(skip_checks=False)
    assert code == 1
    assert codes(lines) >= {"check", "broker_transport", "beat_entry"}
    assert [line["text"] for line in lines if line.get("code") == "check"] == ["The shop has no till. (shop.E001)"]


@pytest.mark.parametrize(
    ("given", "words"), [({"LEES": 1}, "unknown key 'LEES'"), ({"DATABASE": "nowhere"}, "not in DATABASES")]
)
def test_a_setting_without_which_no_database_is_asked(settings: Settings, given: dict[str, Any], words: str) -> None:
    """Where the engine's own settings are refused, the doctor says what is wrong with them instead of a traceback."""
    settings.DURABLE_OBJECTS = given
    code, lines = ask(skip_checks=False)
    assert code == 1
    assert [words in line["text"] for line in lines if line.get("trouble")] == [True]


def test_doctor_does_not_wait_for_a_silent_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the database takes the connection and says nothing, ``alarms doctor`` says that, and ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = database(f"postgresql://u:hunter2@127.0.0.1:{server.getsockname()[1]}/x", Path())
        handler = ConnectionHandler({"default": silent})
        for module in (engine_connection, supported):
            monkeypatch.setattr(module, "connections", handler)
        monkeypatch.setattr(alarms, "SECONDS_TO_CONNECT", 0.2)
        with pytest.raises(CommandError, match=r"not answered for 0.2 s.*connect_timeout") as refused:
            call_command("alarms", "doctor")
    assert "hunter2" not in str(refused.value)


def test_dead_occurrences_of_schedules_are_a_notice(healthy: FakeClock, script: Script) -> None:
    """A schedule with a dead occurrence is reported with its error, as a notice, until it is revived or cancelled."""

    def fail(obj: Scripted) -> None:
        raise ZeroDivisionError("no")

    script.scheduled = fail
    Scripted.objects.get_by_name("a").schedules.set("tick", "scheduled", every=timedelta(hours=1))
    healthy.advance(timedelta(hours=1))
    for retry in range(7):
        run_due_alarms()
        healthy.advance(timedelta(seconds=2 << retry))
    Dispatcher.objects.update(last_pass_at=healthy.now())
    code, lines = ask()
    assert (code, codes(lines)) == (0, {"dead_schedules"})
    assert "ZeroDivisionError: no" in lines[0]["text"]
    Scripted.objects.get_by_name("a").schedules.cancel("tick")
    assert codes(ask()[1]) == set()
