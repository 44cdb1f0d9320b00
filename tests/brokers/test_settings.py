"""``celery_settings()``: the settings for each broker, trap by trap; docs/guides/production.md has the reasons."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.core.exceptions import ImproperlyConfigured
from kombu import Connection, Queue
from kombu import connection as kombu_connection

from durable_objects import celery_settings, tasks, worker
from durable_objects.conf import engine
from durable_objects.delivery import beat, brokers
from project.celery import app

REDIS, RABBITMQ = "redis://host/0", "amqp://host//"
EVERY_KIND = ["memory://", REDIS, "rediss://host/0", "sentinel://host/0", RABBITMQ, "amqps://host//", "filesystem://"]
ALONE = {"CELERY_TASK_DEFAULT_QUEUE": "alarms"}


def configured(**settings: Any) -> Celery:
    """A Celery app of a foreign project, with these settings."""
    foreign = Celery("foreign", set_as_current=False)
    foreign.config_from_object(settings, namespace="CELERY")
    return foreign


def queue_of(foreign: Celery, task: str) -> Any:
    """The queue that a task is sent to."""
    return foreign.amqp.router.route({}, task, (1, 1, False), {})["queue"]


def consumed(foreign: Celery) -> set[str]:
    """The queues that a worker without ``-Q`` consumes from."""
    return set(foreign.amqp.queues.consume_from)


@pytest.mark.parametrize("url", EVERY_KIND)
def test_only_the_engines_tasks_are_routed(url: str) -> None:
    """A project's own tasks stay in its default queue, a plain worker consumes from it and from both of ours."""
    foreign = configured(**celery_settings(url))
    assert queue_of(foreign, "shop.tasks.mail").name == "celery"
    assert {queue_of(foreign, task.name).name for task in (tasks.fire_alarm, tasks.fire_alarms)} == {"alarms"}
    assert queue_of(foreign, tasks.dispatch_alarms.name).name == "dispatch"
    assert consumed(foreign) == {"celery", "alarms", "dispatch"}


def test_the_default_queue_is_declared_as_celery_does() -> None:
    """It may exist on the broker: RabbitMQ refuses to declare it otherwise."""
    own = {"CELERY_TASK_DEFAULT_QUEUE": "main"}
    plain, ours = configured(**own), configured(**own, **celery_settings(RABBITMQ, own))
    for queue in (ours.amqp.queues["main"], queue_of(ours, "shop.tasks.mail")):
        assert queue == plain.amqp.queues["main"]
        assert queue.exchange == plain.amqp.queues["main"].exchange


def test_queues_of_other_names() -> None:
    """Both queues may be called otherwise, where a project has queues of these names."""
    foreign = configured(**celery_settings(REDIS, queue="timers", dispatch_queue="beats"))
    assert queue_of(foreign, tasks.fire_alarm.name).name == "timers"
    assert queue_of(foreign, tasks.dispatch_alarms.name).name == "beats"
    assert consumed(foreign) == {"celery", "timers", "beats"}


def by_prefix(name: str, *args: Any, **kwargs: Any) -> str | None:
    """Route a task as a project may by a function."""
    return "slow" if name.startswith("shop.") else None


@pytest.mark.parametrize(
    "routes",
    [{"shop.*": "slow"}, [{"shop.*": {"queue": "slow"}}], ([("shop.*", {"queue": "slow"})],), by_prefix],
    ids=["a dict", "a list of dicts", "pairs", "a function"],
)
@pytest.mark.parametrize(
    "queues",
    [[Queue("slow"), Queue("fast")], {"slow": {"exchange": "own"}, "fast": Queue("fast")}],
    ids=["queues", "a dict"],
)
def test_what_a_project_has_of_its_own_stays(routes: Any, queues: Any) -> None:
    """Its queues, routes, transport options and every single setting: completed, never replaced."""
    own = {
        "CELERY_TASK_QUEUES": queues,
        "CELERY_TASK_ROUTES": routes,
        "CELERY_BROKER_TRANSPORT_OPTIONS": {"visibility_timeout": 43200, "socket_timeout": 9},
        "CELERY_BROKER_CONNECTION_TIMEOUT": 9,
        "CELERY_WORKER_PREFETCH_MULTIPLIER": 1,
        "CELERY_WORKER_CONSUMER": "shop.worker:Consumer",
        "DEBUG": True,
    }
    made = celery_settings(REDIS, own)
    foreign = configured(**own | made)
    assert consumed(foreign) == {"slow", "fast", "alarms", "dispatch"}
    assert queue_of(foreign, "shop.tasks.mail").name == "slow"
    assert queue_of(foreign, tasks.fire_alarm.name).name == "alarms"
    options = foreign.conf.broker_transport_options
    assert (options["visibility_timeout"], options["socket_timeout"]) == (43200, 9)
    assert options["socket_connect_timeout"] == 0.4
    assert foreign.conf.broker_connection_timeout == 9
    assert foreign.conf.worker_prefetch_multiplier == 1
    assert foreign.conf.worker_consumer == "shop.worker:Consumer"
    assert "DEBUG" not in made


@pytest.mark.parametrize("url", EVERY_KIND)
def test_nothing_is_said_of_how_own_tasks_run(url: str) -> None:
    """Results, acknowledgement, time zone, logs, connections and, on Redis, redelivery are the project's to set."""
    theirs = {"ignore_result", "acks_late", "timezone", "hijack", "db_reuse", "serializer", "prefetch", "default_queue"}
    made = celery_settings(url)
    assert [name for name in made if any(each.upper() in name for each in theirs)] == []
    assert "visibility_timeout" not in made["CELERY_BROKER_TRANSPORT_OPTIONS"]


def test_called_twice() -> None:
    """Settings that import others which have called it already: the broker is the last one, nothing is there twice."""
    own = celery_settings(REDIS, {"CELERY_TASK_ROUTES": {"shop.*": "slow"}})
    again = own | celery_settings(RABBITMQ, own)
    assert again["CELERY_TASK_ROUTES"] == own["CELERY_TASK_ROUTES"]
    assert again["CELERY_TASK_QUEUES"] == celery_settings(RABBITMQ)["CELERY_TASK_QUEUES"]
    assert again["CELERY_BEAT_SCHEDULE"].keys() == {beat.NAME}
    assert again["CELERY_BROKER_TRANSPORT_OPTIONS"]["confirm_publish"] is True
    assert again["CELERY_BROKER_URL"] == RABBITMQ


@pytest.mark.parametrize("url", [REDIS, [REDIS, "redis://other/0"], "redis://host/0;redis://other/0"], ids=str)
def test_several_brokers_of_one_kind(url: Any) -> None:
    """A list of addresses, or several in one text, as Celery takes them."""
    made = celery_settings(url)
    assert made["CELERY_BROKER_URL"] == url
    assert made["CELERY_BROKER_TRANSPORT_OPTIONS"]["socket_timeout"] == 0.4


def test_it_needs_neither_celery_nor_an_app_registry() -> None:
    """Settings are read before either is there: what is returned is plain data."""
    code = """
import sys
from durable_objects import celery_settings
made = celery_settings("amqp://host//", globals())
assert not {"celery", "kombu", "django.contrib.contenttypes.models"} & {*sys.modules}
print(eval(repr(made), {"datetime": __import__("datetime")}) == made)
"""
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2], timeout=60)
    assert done.stdout == "True\n"


def test_rabbitmq_delays_messages_itself() -> None:
    """Both queues are quorum queues on a topic exchange: what Celery's native delayed delivery asks for."""
    foreign = configured(**celery_settings(RABBITMQ))
    for name in ("alarms", "dispatch"):
        queue = foreign.amqp.queues[name]
        assert (queue.exchange.type, queue.queue_arguments) == ("topic", {"x-queue-type": "quorum"})
    for other in (configured(**celery_settings(REDIS)), configured(**celery_settings(RABBITMQ, quorum_queues=False))):
        assert not any(queue.queue_arguments for queue in other.amqp.queues.values())
        assert {queue.exchange.type for queue in other.amqp.queues.values()} == {"direct"}


def test_a_broker_of_the_engines_own() -> None:
    """Where the default queue is that of wake-ups, no task of others is there to be redelivered, or held back."""
    assert celery_settings(RABBITMQ, ALONE)["CELERY_WORKER_PREFETCH_MULTIPLIER"] == 64
    assert "CELERY_WORKER_PREFETCH_MULTIPLIER" not in celery_settings(REDIS, ALONE)
    options = celery_settings(REDIS, ALONE)["CELERY_BROKER_TRANSPORT_OPTIONS"]
    assert timedelta(seconds=options["visibility_timeout"]) > 5 * engine.HORIZON
    assert options["unacked_restore_throttle"] == 1
    assert consumed(configured(**ALONE, **celery_settings(REDIS, ALONE))) == {"alarms", "dispatch"}
    assert consumed(app) == {"alarms", "dispatch"}


def test_publishers_never_wait_long() -> None:
    """Connecting, sending and the broker's answer are each bounded, and there is one retry."""
    redis, amqp = (celery_settings(url)["CELERY_BROKER_TRANSPORT_OPTIONS"] for url in (REDIS, RABBITMQ))
    waits = [redis["socket_timeout"], redis["socket_connect_timeout"], amqp["read_timeout"], amqp["write_timeout"]]
    settings = celery_settings(RABBITMQ)
    waits.append(settings["CELERY_BROKER_CONNECTION_TIMEOUT"])
    assert max(waits) * 3 < 1.5
    assert settings["CELERY_TASK_PUBLISH_RETRY_POLICY"]["max_retries"] == 1
    assert amqp["confirm_publish"] is True
    assert celery_settings("memory://")["CELERY_BROKER_TRANSPORT_OPTIONS"] == {"polling_interval": 0.01}
    assert celery_settings("filesystem://")["CELERY_BROKER_TRANSPORT_OPTIONS"] == {}


def conf_of_a_worker(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Any:
    """The settings of a foreign project once our consumer has been made for it."""
    monkeypatch.setattr(worker._CelerysConsumer, "__init__", lambda *args, **kwargs: None)
    monkeypatch.setattr(worker.Consumer, "connection_errors", (), raising=False)
    foreign = configured(**settings)
    worker.Consumer(app=foreign)
    return foreign.conf


@pytest.mark.parametrize("url", [REDIS, RABBITMQ])
def test_workers_are_patient(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that declares its queues on a busy broker gets seconds for each step, and never ends its search."""
    made = celery_settings(url)
    conf = conf_of_a_worker(monkeypatch, **made)
    assert conf.broker_connection_timeout == 4
    short = {name for name, value in made["CELERY_BROKER_TRANSPORT_OPTIONS"].items() if value == 0.4}
    assert short
    assert {conf.broker_transport_options[name] for name in short} == {4}
    assert conf.broker_connection_max_retries is None


def test_what_is_long_or_not_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's time-outs are lengthened, never shortened or made up."""
    options = {"socket_timeout": 30, "visibility_timeout": 1, "read_timeout": None}
    conf = conf_of_a_worker(monkeypatch, CELERY_BROKER_TRANSPORT_OPTIONS=options, CELERY_BROKER_CONNECTION_TIMEOUT=None)
    assert conf.broker_transport_options == options
    assert conf.broker_connection_timeout is None


def test_a_lost_broker_is_looked_for_every_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a worker nor beat lets its tries grow apart to half a minute while alarms are due."""
    asked: list[Any] = []
    monkeypatch.setattr(kombu_connection, "retry_over_time", lambda *args, **kwargs: asked.append(args[6:9]))
    connect = partial(Connection, "redis://127.0.0.1:1/0")
    monkeypatch.setattr(app, "connection_for_read", lambda **kwargs: connect())
    consumer = worker.Consumer.__new__(worker.Consumer)
    consumer.app, consumer.first_connection_attempt, consumer.broker_connection_retry_attempt = app, True, 0
    consumer.connection_for_read()
    brokers.tried_each_second(connect()).ensure_connection()
    assert asked == [(1, 0, 1), (1, 0, 1)]


def test_own_tasks_that_acknowledge_late_change_nothing() -> None:
    """A wake-up is acknowledged when it starts, whatever the project's settings are for its own: the row redelivers."""
    foreign = configured(CELERY_TASK_ACKS_LATE=True, CELERY_TASK_REJECT_ON_WORKER_LOST=True)
    for task in (tasks.fire_alarm, tasks.fire_alarms, tasks.dispatch_alarms):
        bound = foreign.tasks[task.name]
        assert (bound.acks_late, bound.reject_on_worker_lost, bound.ignore_result) == (False, False, True)


@pytest.mark.parametrize(
    ("own", "scheduler", "is_scheduled"),
    [
        ({}, None, True),
        ({"INSTALLED_APPS": ["django_celery_beat", "shop"]}, "durable_objects.scheduler:DatabaseScheduler", False),
        (
            {
                "INSTALLED_APPS": ["django_celery_beat.apps.BeatConfig"],
                "CELERY_BEAT_SCHEDULER": "celery.beat:PersistentScheduler",
            },
            "celery.beat:PersistentScheduler",
            True,
        ),
        ({"INSTALLED_APPS": ["django_celery_beat"], "CELERY_BEAT_SCHEDULER": "django"}, "django", False),
        ({"CELERY_BEAT_SCHEDULE": {"mine": {"task": beat.TASK, "schedule": 1}}}, None, False),
        ({"DURABLE_OBJECTS": {"DISPATCHED_BY": "command"}}, None, False),
    ],
    ids=["Celery's", "in the database", "installed, not used", "by its short name", "scheduled", "by a command"],
)
def test_beat_dispatches(own: dict[str, Any], scheduler: str | None, is_scheduled: bool) -> None:
    """By the entry in the database where beat reads those; else by one in CELERY_BEAT_SCHEDULE, beside the others."""
    nightly = {"nightly": {"task": "shop.nightly", "schedule": 60.0}}
    own = own | {"CELERY_BEAT_SCHEDULE": own.get("CELERY_BEAT_SCHEDULE", {}) | nightly}
    made = own | celery_settings(REDIS, own)
    assert made.get("CELERY_BEAT_SCHEDULER") == scheduler
    assert made["CELERY_BEAT_SCHEDULE"]["nightly"] == nightly["nightly"]
    ours = made["CELERY_BEAT_SCHEDULE"].get(beat.NAME)
    assert (ours is not None) is is_scheduled
    if ours:
        assert ours == {"task": beat.TASK, "schedule": timedelta(seconds=5), "options": {"expires": 600}}


@pytest.mark.parametrize(
    ("given", "every", "expires"),
    [
        ({"DISPATCH_EVERY": timedelta(minutes=20)}, timedelta(minutes=20), 2400),
        ({"DISPATCH_EVERY": 7}, timedelta(seconds=5), 600),
    ],
    ids=["a span", "refused by a check"],
)
def test_beats_entry_is_as_often_as_the_settings_say(given: dict[str, Any], every: timedelta, expires: int) -> None:
    """It comes each DISPATCH_EVERY, and outlives the next one; what is wrong there is for ``check`` to say."""
    entry = celery_settings(REDIS, {"DURABLE_OBJECTS": given})["CELERY_BEAT_SCHEDULE"][beat.NAME]
    assert (entry["schedule"], entry["options"]["expires"]) == (every, expires)


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
    tasks._send((1, 1), timedelta(seconds=delay), None, retries=0)
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


def test_the_project_keeps_its_database_connections() -> None:
    """Celery would close them around every task otherwise, which costs more than most tasks."""
    assert app.conf.get("CELERY_DB_REUSE_MAX") > 1000


@pytest.mark.parametrize("url", [None, "", " ", [], [None], b"redis://:hunter2-no-word@h", ["redis://h", ""]])
def test_no_address_of_a_broker_is_refused(url: Any) -> None:
    """A variable that is not set, or is empty, ends the start in a sentence, which does not show what it was."""
    with pytest.raises(ImproperlyConfigured, match="expected a text such as") as refused:
        celery_settings(url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CELERY_BROKER_TRANSPORT_OPTIONS", [1]),
        ("CELERY_BEAT_SCHEDULE", [1]),
        ("CELERY_TASK_QUEUES", "mail"),
        ("CELERY_TASK_QUEUES", ["mail"]),
        ("CELERY_TASK_QUEUES", [{"name": "mail"}]),
        ("CELERY_TASK_QUEUES", {"mail": None}),
        ("CELERY_TASK_QUEUES", 3),
    ],
)
def test_settings_that_celery_does_not_take_are_named(name: str, value: Any) -> None:
    """A setting of another kind is refused by its name, with what would do."""
    with pytest.raises(ImproperlyConfigured, match=f"{name} .*expected"):
        celery_settings(REDIS, {name: value})


@pytest.mark.parametrize("given", ["beat", 3, {"DISPATCH_EVERY": 5.0}, {"DISPATCH_EVERY": timedelta.max}])
def test_engine_settings_that_are_wrong_are_left_to_the_check(given: Any) -> None:
    """What is wrong in DURABLE_OBJECTS does not end the start in a traceback: E010 has the sentence."""
    entry = celery_settings(REDIS, {"DURABLE_OBJECTS": given})["CELERY_BEAT_SCHEDULE"][beat.NAME]
    assert entry["schedule"] == engine.default("DISPATCH_EVERY")


def test_blanks_around_an_address_change_nothing() -> None:
    """An address from a file has the settings of its kind."""
    assert celery_settings(f" {REDIS}\n")["CELERY_BROKER_TRANSPORT_OPTIONS"]["socket_timeout"]
