"""What ``check`` and the doctor say of settings of Celery and of the database that would hold up or lose alarms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import current_app
from celery.app.routes import Router, prepare
from django.core.checks import run_checks
from django.db import connection

from durable_objects import doctor
from durable_objects.database import clock
from durable_objects.delivery import brokers, workers
from durable_objects.doctor import Finding

pytestmark = pytest.mark.django_db


def messages(code: str, *, deploy: bool = False) -> list[str]:
    """What ``check`` says under this code, with the hint."""
    found = run_checks(include_deployment_checks=deploy)
    return [f"{message.msg} {message.hint}" for message in found if message.id == f"durable_objects.{code}"]


def findings() -> list[Finding]:
    """All that the doctor finds."""
    return doctor.examine(clock.now())


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("broker_transport_options", ["hunter2"], "list"),
        ("beat_schedule", ["hunter2"], "list"),
        ("task_publish_retry_policy", "hunter2", "str"),
        ("task_queues", 3, "int"),
        ("task_queues", ["hunter2"], "str"),
        ("broker_url", 3, "int"),
        ("broker_url", ["redis://:hunter2@h", 3], "int"),
    ],
)
def test_a_setting_of_another_type_ends_no_check(
    set_celery: Callable[..., None], name: str, value: Any, kind: str
) -> None:
    """What was set wrong after ``celery_settings()`` is named with its type (E025), by the doctor too; no value is."""
    set_celery(**{name: value})
    (shown,) = messages("E025", deploy=True)
    assert shown.startswith(f"CELERY_{name.upper()} ")
    assert f" {kind}" in shown
    assert "expected" in shown
    found = [finding for finding in findings() if "E025" in finding.text]
    assert [finding.is_trouble for finding in found] == [True]
    assert "hunter2" not in shown + str(findings())


@pytest.mark.parametrize(
    ("given", "kinds"),
    [
        ("redis://a;amqp://b", "(redis, amqp)"),
        (["amqp://a", "sqs://b", "amqps://c"], "(amqp, sqs)"),
        ("amqp://a;amqps://b", None),
        (["redis://a", "rediss://b"], None),
    ],
)
def test_brokers_of_several_kinds(set_celery: Callable[..., None], given: Any, kinds: str | None) -> None:
    """A list of brokers shares one set of options, so that all have to be of one kind: W026 names them."""
    set_celery(broker_url=given)
    assert [kinds in shown for shown in messages("W026") if kinds] == ([True] if kinds else [])
    assert kinds or messages("W026") == []


def test_queues_that_celery_may_not_make(set_celery: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """With CELERY_TASK_CREATE_MISSING_QUEUES off a queue that is not listed fails each wake-up: W022, and ``route``."""
    app: Any = current_app
    set_celery(broker_url="redis://", task_create_missing_queues=False)
    routes = prepare([{"durable_objects.*": {"queue": "alarms"}}])
    router = Router(routes, app.amqp.Queues({"mine": {}}, create_missing=False), create_missing=False, app=app)
    monkeypatch.setitem(vars(app.amqp), "router", router)
    (shown,) = [shown for shown in messages("W022") if "CREATE_MISSING" in shown]
    assert "'alarms' missing from task_queues" in shown
    assert "Name the queue in CELERY_TASK_QUEUES" in shown
    monkeypatch.setattr(brokers, "unreachable", lambda asked, seconds: {})
    monkeypatch.setattr(workers, "_ask", lambda command, seconds: [("w@a", [{"name": "mine"}])])
    advice = [finding.advice for finding in findings() if finding.code == "route"]
    assert advice
    assert all("CELERY_TASK_QUEUES" in each for each in advice)


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PostgreSQL's: a server")
@pytest.mark.parametrize("given", ["OPTIONS", "environment", None])
def test_a_database_that_may_be_waited_for_without_end(given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a ``connect_timeout`` ``check --deploy`` and the doctor have the line to write; no other check does."""
    options = connection.settings_dict["OPTIONS"]
    monkeypatch.delitem(options, "connect_timeout", raising=False)
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)
    if given == "OPTIONS":
        monkeypatch.setitem(options, "connect_timeout", 5)
    elif given:
        monkeypatch.setenv("PGCONNECT_TIMEOUT", "5")
    shown = messages("W027", deploy=True)
    found = [finding for finding in findings() if finding.code == "database_waits"]
    assert messages("W027") == []
    if given:
        assert not shown
        assert not found
    else:
        assert '"OPTIONS"] = {"connect_timeout": 5}' in shown[0]
        assert [finding.is_trouble for finding in found] == [False]
