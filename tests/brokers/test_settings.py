"""The settings for each broker, trap by trap; docs/guides/production.md has the reasons."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kombu import connection as kombu_connection

from durable_objects import tasks
from durable_objects.conf import engine
from project import brokers
from project.celery import SteadyConnection, app

REDIS, RABBITMQ = "redis://host/0", "amqp://host//"
EVERY_KIND = ["memory://", REDIS, "rediss://host/0", RABBITMQ, "amqps://host//", "filesystem://"]


@pytest.mark.parametrize("url", EVERY_KIND)
def test_messages_are_acknowledged_when_they_start(url: str) -> None:
    """The row is the redelivery: no broker is asked to bring a message back when a worker is lost."""
    settings = brokers.celery_settings(url)
    assert settings["CELERY_TASK_ACKS_LATE"] is False
    assert settings["CELERY_TASK_REJECT_ON_WORKER_LOST"] is False


@pytest.mark.parametrize("url", EVERY_KIND)
def test_the_dispatcher_has_a_queue_of_its_own(url: str) -> None:
    """Passes and alarms are in different queues, and a worker without options takes from both."""
    settings = brokers.celery_settings(url)
    assert [queue.name for queue in settings["CELERY_TASK_QUEUES"]] == ["alarms", "dispatch"]
    assert settings["CELERY_TASK_ROUTES"] == {tasks.dispatch_alarms.name: {"queue": "dispatch"}}
    assert settings["CELERY_TASK_DEFAULT_QUEUE"] == "alarms"


def test_rabbitmq_delays_messages_itself() -> None:
    """Every queue is a quorum queue on a topic exchange: what Celery's native delayed delivery asks for."""
    settings = brokers.celery_settings(RABBITMQ)
    for queue in settings["CELERY_TASK_QUEUES"]:
        assert (queue.exchange.type, queue.queue_arguments) == ("topic", {"x-queue-type": "quorum"})
    assert not any(queue.queue_arguments for queue in brokers.celery_settings(REDIS)["CELERY_TASK_QUEUES"])


def test_publishers_never_wait_long() -> None:
    """Connecting, sending and the broker's answer are each bounded, and there is one retry."""
    redis, amqp = brokers.transport_options(REDIS), brokers.transport_options(RABBITMQ)
    waits = [redis["socket_timeout"], redis["socket_connect_timeout"], amqp["read_timeout"], amqp["write_timeout"]]
    settings = brokers.celery_settings(RABBITMQ)
    waits.append(settings["CELERY_BROKER_CONNECTION_TIMEOUT"])
    assert max(waits) * 3 < 1.5
    assert settings["CELERY_TASK_PUBLISH_RETRY_POLICY"]["max_retries"] == 1
    assert amqp["confirm_publish"] is True


def test_workers_are_patient() -> None:
    """A worker that declares its queues on a busy broker gets seconds, and looks for a lost one for ever."""
    for url in (REDIS, RABBITMQ):
        patient = brokers.worker_settings(url)
        assert patient["broker_connection_timeout"] > 2
        assert patient["broker_transport_options"].keys() == brokers.transport_options(url).keys()
        assert brokers.celery_settings(url)["CELERY_BROKER_CONNECTION_MAX_RETRIES"] is None


def test_a_lost_broker_is_looked_for_every_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker does not let its tries grow apart to half a minute while alarms are due."""
    asked: list[Any] = []
    monkeypatch.setattr(kombu_connection, "retry_over_time", lambda *args, **kwargs: asked.extend(args))
    SteadyConnection("redis://127.0.0.1:1/0").ensure_connection(None, None, callback=None)
    start, step, longest = asked[6:9]
    assert (start, step, longest) == (1, 0, 1)
    assert app.amqp.Connection is SteadyConnection


def test_redis_brings_nothing_back_that_merely_waits() -> None:
    """Far alarms have no message; near ones are over long before Redis would deliver them a second time."""
    options = brokers.transport_options(REDIS)
    assert timedelta(seconds=options["visibility_timeout"]) > 5 * engine.HORIZON
    assert options["unacked_restore_throttle"] == 1


@pytest.mark.parametrize(
    ("delay", "countdown"), [(-5.0, None), (0.0, None), (0.999999, None), (1.0, 1.0), (2.5, 2.5)], ids=str
)
def test_a_delay_under_a_second_is_the_workers_to_wait(
    monkeypatch: pytest.MonkeyPatch, delay: float, countdown: float | None
) -> None:
    """RabbitMQ delays by whole seconds and refuses none: such a wake-up goes out at once and says when it is due."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(tasks.fire_alarm, "apply_async", lambda args, **options: sent.append(options))
    before = datetime.now(UTC)
    tasks._send((1, 1), timedelta(seconds=delay), retries=0)
    [options] = sent
    assert options.get("countdown") == countdown
    assert "eta" not in options
    assert ("headers" in options) == (0 < delay < 1)
    if "headers" in options:
        eta = datetime.fromisoformat(options["headers"]["eta"])
        assert before <= eta - timedelta(seconds=delay) <= datetime.now(UTC)


def test_everything_is_in_utc() -> None:
    """Celery's times are UTC whatever the machine's zone is."""
    assert str(app.conf.timezone) == "UTC"
    assert app.conf.enable_utc is True


def test_workers_keep_their_database_connections() -> None:
    """Celery would close them around every task otherwise, which costs more than most tasks."""
    assert app.conf.get("CELERY_DB_REUSE_MAX") == brokers.celery_settings(REDIS)["CELERY_DB_REUSE_MAX"]
