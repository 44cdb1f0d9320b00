"""Brokers that cannot be reached or have no consumer: reported by ``check`` and the doctor, without a password."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from celery import current_app
from celery.app.routes import Router, prepare
from django.core.checks import Error
from django.core.checks import Warning as Caution
from kombu.transport import redis as redis_transport
from pytest_django import Settings

from durable_objects import checks, tasks
from durable_objects.database import clock as engine_clock
from durable_objects.delivery import brokers, processes, workers
from durable_objects.delivery.brokers import Broker
from durable_objects.doctor import Finding, delivery, environment
from durable_objects.operations import explain
from durable_objects.tables import Alarm, Object
from project.demo.processes import wait_for
from tests.models import Script, Scripted
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "pass-in-no-words"


@pytest.fixture
def say(set_celery: Callable[..., None]) -> Callable[..., None]:
    """Settings of Celery, by its own names, for this test."""
    return set_celery


@pytest.fixture
def script() -> Script:
    """What a ``Scripted`` object does in this test."""
    Scripted.script = Script()
    return Scripted.script


def findings() -> dict[str, Finding]:
    """What the doctor finds about who consumes a wake-up, by its code."""
    return {finding.code: finding for ask in delivery.QUESTIONS for finding in ask(engine_clock.now())}


def answer(monkeypatch: pytest.MonkeyPatch, queues: dict[str, set[str]], theirs: str | None = None) -> None:
    """Let the broker answer, and these workers, by the queues that they consume from; on this database, if any."""

    def ask(command: str, seconds: float, **how: Any) -> list[tuple[str, Any]]:
        if command == "active_queues":
            return [(worker, [{"name": name} for name in names]) for worker, names in queues.items()]
        return [(worker, {"installation": theirs}) for worker in how["destination"]]

    monkeypatch.setattr(brokers, "unreachable", lambda asked, seconds: {})
    monkeypatch.setattr(workers, "_ask", ask)


@pytest.mark.parametrize(
    ("given", "kinds"),
    [
        ("redis://a", ["redis"]),
        ("rediss://a", ["redis"]),
        ("redis+socket:///run/redis.sock", ["redis"]),
        ("sentinel://:x@a:26379;sentinel://b:26379", ["redis", "redis"]),
        (["amqp://a", "amqps://b"], ["amqp", "amqp"]),
        ("amqp://a;amqp://b;redis://c", ["amqp", "amqp", "redis"]),
        ("confluentkafka://a", ["confluentkafka"]),
        ("memory://", ["memory"]),
        (None, ["amqp"]),
    ],
)
def test_every_address_has_its_kind(given: Any, kinds: list[str], say: Any) -> None:
    """Lists, several schemes of one kind, sockets, and what nobody has tried: each is reported as what it is."""
    say(broker_url=given, broker_write_url=None)
    assert [broker.kind for broker in brokers.brokers()] == kinds
    assert tasks._broker_is_private() is (kinds == ["memory"])
    say(broker_transport_options={})
    found = {finding.code for finding in environment.judge_broker(tasks.settings_in_force())}
    assert ("broker_hangs" in found) is bool({"redis", "amqp"} & {*kinds})
    assert ("broker_confirms" in found) is ("amqp" in kinds)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqs://user:SECRET@", "botocore|boto3|curl"),
        ("reddis://user:SECRET@127.0.0.1", "No such transport"),
        ("confluentkafka://user:SECRET@127.0.0.1", "confluent|kafka"),
    ],
)
def test_a_transport_that_is_missing_is_refused_at_setup(url: str, words: str, say: Any) -> None:
    """A scheme that nobody knows, or whose package is not there: an error of ``check``, trouble of the doctor's."""
    say(broker_url=url.replace("SECRET", PASSWORD))
    (error,) = [message for message in checks._check_celery() if isinstance(message, Error)]
    found = findings()["broker_transport"]
    assert error.id == "durable_objects.E017"
    for text in (error.msg, found.text):
        assert any(word in text for word in words.split("|")), text
        assert PASSWORD not in text
    assert found.is_trouble


#: kombu's Redis transport did not always need it.
NEEDS_PACKAGING = "packaging" in Path(redis_transport.__file__).read_text("utf-8")


@pytest.mark.parametrize(
    "package", ["redis", pytest.param("packaging", marks=pytest.mark.skipif(not NEEDS_PACKAGING, reason="not needed"))]
)
def test_a_package_that_the_transport_needs(package: str, tmp_path: Path) -> None:
    """With redis:// and without ``redis``, or what that needs, ``check`` names the package."""
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('No {package}', name={package!r})\n")
    code = "import sys; sys.path.insert(0, sys.argv[1])\nfrom durable_objects.delivery.brokers import Broker\n"
    code += "print(Broker('redis://:x@127.0.0.1:1').flaw())"
    run = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2], timeout=60)
    assert package in done.stdout
    assert 'pip install "celery[redis]"' in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["redis", "amqp", "sentinel"])
def test_a_broker_that_refuses_is_reported(scheme: str, say: Any, closed_port: int) -> None:
    """Nobody listens at its port: trouble within seconds, with its address and without the password."""
    say(broker_url=f"{scheme}://user:{PASSWORD}@127.0.0.1:{closed_port}/")
    if scheme == "sentinel":
        say(broker_transport_options={"master_name": "m"})
    began = time.monotonic()
    found = findings()["broker_away"]
    assert time.monotonic() - began < 15
    assert found.is_trouble
    assert found.text.startswith(f"The broker does not answer: {scheme}://127.0.0.1:")
    assert PASSWORD not in found.text


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_frozen_is_reported(scheme: str, say: Any, silent_port: int) -> None:
    """It takes the connection and never says a word: reported within a few seconds."""
    say(broker_url=f"{scheme}://user:{PASSWORD}@127.0.0.1:{silent_port}/")
    began = time.monotonic()
    assert PASSWORD not in findings()["broker_away"].text
    assert time.monotonic() - began < 15


@pytest.mark.services("redis", "rabbitmq")
@pytest.mark.parametrize("url", ["redis_url", "rabbitmq_url"])
def test_to_ask_leaves_no_connection(url: str, request: pytest.FixtureRequest) -> None:
    """Whoever asks whether a broker answers has hung up afterwards, without the garbage collector."""
    where = urlsplit(request.getfixturevalue(url))
    wire = TcpProxy(where.port or 0)
    gc.disable()
    try:
        asked = Broker(urlunsplit(where._replace(netloc=where.netloc.replace(f":{where.port}", f":{wire.port}"))))
        assert brokers.unreachable([asked], 5) == {}
        wait_for("no connection", lambda: wire.connections, seconds=5, until=lambda seen: seen == 0)
    finally:
        gc.enable()
        wire.stop()


@pytest.mark.services("redis")
def test_one_of_several_that_is_away_is_news(redis_url: str, say: Any, closed_port: int) -> None:
    """Of a list one answers: the other is reported, and is no trouble."""
    say(broker_url=f"redis://:{PASSWORD}@127.0.0.1:{closed_port}/0;{redis_url}")
    found = findings()
    assert not found["broker_away"].is_trouble
    assert "Another one does." in found["broker_away"].text


@pytest.mark.usefixtures("script")
@pytest.mark.parametrize("is_set", [True, False], ids=["an alarm", "no alarm yet"])
@pytest.mark.parametrize(
    ("listeners", "code"),
    [({}, "workers"), ({"w@a": {"celery", "dispatch"}}, "queue"), ({"w@a": {"dispatch"}, "w@b": {"alarms"}}, None)],
)
def test_a_queue_that_nobody_listens_on(
    listeners: dict[str, set[str]], code: str | None, is_set: bool, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wake-ups go to a queue, which is named; that none of the workers listens on it is trouble, silence is not."""
    say(broker_url="redis://")
    monkeypatch.setattr(brokers, "unreachable", lambda asked, seconds: {})
    answer(monkeypatch, listeners)
    if is_set:
        Scripted.objects.get_by_name("a").storage.set_alarm(timedelta(hours=1))
    found = findings()
    assert {"queue", "workers"} & {*found} == ({code} if code else set())
    if code:
        assert "'alarms'" in found[code].text
        assert "celery -A PROJECT worker -Q alarms" in found[code].advice
        assert found[code].is_trouble is (code == "queue")


@pytest.mark.parametrize("loop", [True, False], ids=["a loop dispatches", "nobody dispatches"])
def test_passes_that_nobody_takes(loop: bool, say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beat sends passes to a queue of their own: that no worker consumes from it is trouble, unless a loop passes."""
    say(broker_url="redis://")
    monkeypatch.setattr(brokers, "unreachable", lambda asked, seconds: {})
    answer(monkeypatch, {"w@a": {"alarms"}})
    monkeypatch.setattr(processes, "trouble", lambda now: None if loop else "No dispatcher has made a pass")
    found = findings()["queue"]
    assert found.text.startswith("The dispatcher's passes go to the queue 'dispatch', and no worker takes")
    assert "The only worker that answers" in found.text
    assert "-Q dispatch" in found.advice
    assert found.is_trouble is not loop


def by_object(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any) -> Any:
    """Shards by the first argument, as Celery's page on routing has it."""
    assert task.name == name
    return {"queue": f"shard-{args[0] % 1}"}


def to_exchange(name: str, *args: Any, **kw: Any) -> Any:
    """Names an exchange and a key, and no queue."""
    return {"exchange": "alarms", "routing_key": "a"}


def broken(name: str, args: Any, *more: Any, **kw: Any) -> Any:
    """Wants more than a wake-up has."""
    return {"queue": args[7]}


@pytest.mark.usefixtures("script")
@pytest.mark.parametrize(
    ("route", "code", "words"),
    [(by_object, "queue", "'shard-0'"), (to_exchange, None, "an exchange"), (broken, "route", "IndexError")],
)
def test_routes_that_are_functions(
    route: Any, code: str | None, words: str, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They get what a wake-up has; doctor and explanation say where it goes, or what the function raised."""
    app: Any = current_app
    app.amqp.queues.pop("shard-0", None)
    known = set(app.amqp.queues)
    router = Router(prepare([route]), app.amqp.queues, create_missing=True, app=app)
    monkeypatch.setitem(vars(app.amqp), "router", router)
    say(broker_url="redis://")
    monkeypatch.setattr(brokers, "unreachable", lambda asked, seconds: {})
    answer(monkeypatch, {"w@a": {"celery"}})
    monkeypatch.setattr(tasks, "_apply", lambda task, args, options: None)
    Scripted.objects.get_by_name("a").storage.set_alarm(timedelta(0))
    monkeypatch.setattr(brokers, "pass_queue", lambda: "celery")
    found = {finding.code: finding for finding in delivery._queues(engine_clock.now())}
    assert {*found} == ({code} if code else set())
    Alarm.objects.update(
        wake_up_for=datetime(2020, 1, 1, tzinfo=UTC), due_at=datetime(2020, 1, 1, tzinfo=UTC), wake_ups_lost=2
    )
    explained = str(explain.explain(Object.objects.get(), engine_clock.now()))
    assert all(words in text for text in (explained, *(each.text for each in found.values())))
    assert set(app.amqp.queues) == known, "to look where a task goes makes no queue"


def test_the_memory_broker_is_not_asked() -> None:
    """A broker inside this process needs no answer."""
    assert set(findings()) <= {"dispatcher"}, "nobody has dispatched in this test"
    assert [*checks._check_celery()] == []


def test_a_process_without_the_projects_app() -> None:
    """Where the project's package does not import its Celery app, ``check`` and doctor say so, and where all goes."""
    code = """
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["django.contrib.contenttypes", "durable_objects"], CELERY_BROKER_URL="redis://x")
django.setup()
from durable_objects import checks
from durable_objects.doctor import delivery, environment
print([message.id for message in checks._check_celery()])
ask = [*delivery._celery_app(None), *delivery._brokers(None), *environment._broker(None)]
print([(finding.code, finding.text) for finding in ask])
"""
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2], timeout=60)
    assert "W018" in done.stdout
    assert "wake-ups go to Celery's default, amqp://" in done.stdout
    assert done.stdout.count("celery_app") == 1
    assert "broker_" not in done.stdout, "what that default lacks leads nowhere"


@pytest.mark.parametrize(
    ("scheduler", "reads"),
    [
        ("celery.beat:PersistentScheduler", False),
        ("django_celery_beat.schedulers:DatabaseScheduler", True),
        ("django_celery_beat.schedulers.DatabaseScheduler", True),
        ("django", True),
        ("durable_objects.scheduler:DatabaseScheduler", True),
    ],
)
def test_a_beat_that_reads_other_entries(scheduler: str, reads: bool, say: Any) -> None:
    """With Celery's own scheduler beat never reads its entry in the database: W006, and trouble while nobody passes."""
    say(beat_scheduler=scheduler)
    messages = [message for message in checks._check_dispatch() if isinstance(message, Caution)]
    assert [message.id for message in messages] == ([] if reads else ["durable_objects.W006"])
    found = findings()
    assert ("beat_scheduler" in found) is not reads
    if not reads:
        assert found["beat_scheduler"].is_trouble
        assert scheduler in found["beat_scheduler"].text
        assert "beat -S durable_objects.scheduler:DatabaseScheduler" in found["beat_scheduler"].advice


def test_an_entry_in_beats_schedule_is_read_by_every_scheduler(say: Any) -> None:
    """With the entry of ``celery_settings()`` the doctor has nothing against Celery's own scheduler."""
    schedule = {"dispatch": {"task": "durable_objects.dispatch_alarms", "schedule": 5.0}}
    say(beat_scheduler="celery.beat:PersistentScheduler", beat_schedule=schedule)
    assert "beat_scheduler" not in findings()


@pytest.mark.parametrize("url", ["redis://a:b@h:1/2?x=y", "sentinel://:b@h", "redis+socket:///run/x.sock", "amqp"])
def test_an_address_is_shown_without_what_is_secret(url: str) -> None:
    """User, password and options of an address are in no words."""
    assert str(Broker(url)) in {"redis://h:1", "sentinel://h", "redis+socket:///run/x.sock", "amqp://"}


@pytest.mark.parametrize("sign", ["#", "/", "?", "["])
@pytest.mark.parametrize("beginning", ["12", "sE"])
def test_a_password_that_is_not_encoded_is_shown_in_no_piece(beginning: str, sign: str, closed_port: int) -> None:
    """Where a sign in the password ends the host, no words have a piece of it, and they say what has to be encoded."""
    broker = Broker(f"redis://:{beginning}{sign}cReT@127.0.0.1:{closed_port}/0")
    flaw = broker.flaw()
    words = f"{broker} {broker.scrubbed(f'Error 111 connecting to 127.0.0.1:{beginning}.')} {flaw and flaw.text}"
    assert f":{beginning}" not in words
    assert f"'{beginning}'" not in words
    assert "cReT" not in words
    assert "percent-encoded" in words
    assert flaw is None or "pip" not in flaw.advice


def test_an_app_of_another_namespace(settings: Settings, say: Any) -> None:
    """A Celery app that does not read what ``celery_settings()`` wrote is named, with the line to write: W018."""
    settings.CELERY_TASK_QUEUES = {"alarms": {}}
    say(task_queues={"alarms": {}})
    assert brokers.app_flaw() is None
    say(task_queues=None)
    flaw = brokers.app_flaw()
    assert flaw is not None
    assert "CELERY_TASK_QUEUES" in flaw.text
    assert 'namespace="CELERY"' in flaw.advice


def test_queues_that_celery_refuses(say: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """``task_queues`` that Celery itself cannot read are a sentence of the doctor's, and end no check."""
    say(task_queues={"mail": None})
    monkeypatch.setattr(current_app.amqp, "_producer_pool", None)
    monkeypatch.setitem(vars(current_app.amqp), "queues", None)
    del vars(current_app.amqp)["queues"]  # made anew
    assert brokers.unlisted_queues() == []
    with pytest.raises(brokers.RouteFailed, match="CELERY_TASK_QUEUES raised TypeError"):
        brokers.queue()


@pytest.mark.slow
@pytest.mark.services("redis")
def test_a_real_worker_says_what_it_listens_on(tmp_path: Path) -> None:
    """Asked for the queues of its workers, a real one on another queue is found out; on the right one all is well."""
    from tests.brokers.conftest import own_broker
    from tests.support.site_processes import Site

    with (
        own_broker("redis", tmp_path) as broker,
        Site(tmp_path, f"sqlite:///{tmp_path / 'a.sqlite3'}", broker.url) as site,
    ):
        ask = "from durable_objects.delivery import workers; print(workers.listening(['alarms'], 5))"
        other = site.worker("other", "-Q", "dispatch", pool="threads")
        answer = site.execute(ask)
        assert "worker='other@" in answer
        assert "queues=frozenset({'dispatch'})" in answer
        other.kill()
        site.worker("right", pool="threads")
        assert "'alarms'" in site.execute(ask)
