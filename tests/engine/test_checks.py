"""What cannot work is named before it is run: by ``manage.py check``, or as the class is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, LiteralString

import pytest
from celery import current_app
from celery.concurrency.thread import TaskPool
from django.apps import apps as django_apps
from django.core.checks import ERROR, CheckMessage, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.utils import ConnectionHandler
from django.test.utils import isolate_apps
from kombu import Queue
from pytest_django import DjangoDbBlocker, Settings

from durable_objects import AlarmInfo, checks, exclusive, tasks
from durable_objects.database import supported
from durable_objects.models import DurableObject
from project.environment import database
from tests.models import Counter, Note, Profile
from tests.support import services

pytestmark = pytest.mark.django_db  # Django 6.1's own checks ask SQLite whether it has JSON


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """The ids of what is found wrong with the classes given."""

    def check(*classes: type[models.Model]) -> list[str]:
        monkeypatch.setattr(checks, "apps", SimpleNamespace(get_models=lambda: classes))
        messages: list[CheckMessage] = checks.check_classes(None)
        assert all(classes[0].__name__ in message.msg and message.hint for message in messages)
        return sorted(str(message.id) for message in messages)

    with isolate_apps("tests"):
        yield check


def test_good_classes_are_fine(found: Callable[..., list[str]]) -> None:
    """A proxy, a subclass of one, and a class with fields of its own are what is wanted."""

    class Good(DurableObject):
        alarm_max_retries = 2
        alarm_time_limit = timedelta(seconds=1)

        class Meta:
            proxy = True
            app_label = "tests"

        def initialize(self) -> None:
            """Of its own."""

        def alarm(self, info: AlarmInfo, extra: int = 0) -> None:
            """Of its own."""

        def own(self) -> None:
            """Of its own."""

    class Better(Good):
        class Meta:
            proxy = True
            app_label = "tests"

    class Rich(DurableObject):
        balance = models.IntegerField(default=0)

        class Meta:
            app_label = "tests"

    assert found(Good, Better, Rich) == []


def test_class_without_proxy_and_without_fields(found: Callable[..., list[str]]) -> None:
    """A forgotten ``proxy = True`` would make a table of nothing."""

    class Forgotten(DurableObject):
        class Meta:
            app_label = "tests"

    assert found(Forgotten) == ["durable_objects.E001"]


def hides_by_field() -> type[models.Model]:
    """A field with the name of an engine attribute."""

    class Shop(DurableObject):
        storage = models.TextField()  # type: ignore[assignment]  # the mistake that is to be found

        class Meta:
            app_label = "tests"

    return Shop


def hides_by_method() -> type[models.Model]:
    """A method with the name of an engine attribute."""

    class Shop(DurableObject):
        class Meta:
            proxy = True
            app_label = "tests"

        def unlocked(self) -> Any:
            """Hides the engine's."""

    return Shop


def hides_by_own_name() -> type[models.Model]:
    """A class whose accessor on its parent is an engine attribute."""

    class Storage(DurableObject):
        size = models.IntegerField(default=0)

        class Meta:
            app_label = "tests"

    return Storage


def hides_by_accessor() -> type[models.Model]:
    """Another model whose reverse accessor is an engine attribute."""

    class Shop(DurableObject):
        size = models.IntegerField(default=0)

        class Meta:
            app_label = "tests"

    class Ware(models.Model):
        shop = models.ForeignKey(Shop, on_delete=models.CASCADE, related_name="storage")

        class Meta:
            app_label = "tests"

    assert Ware._meta.app_label == "tests"
    return Shop


@pytest.mark.parametrize("make", [hides_by_field, hides_by_method, hides_by_own_name, hides_by_accessor])
def test_class_that_hides_what_the_engine_needs(
    found: Callable[..., list[str]], make: Callable[[], type[models.Model]]
) -> None:
    """A field, method, class name or reverse accessor that takes an engine attribute's name is refused."""
    assert found(make()) == ["durable_objects.E002"]


def test_alarm_that_cannot_take_its_info(found: Callable[..., list[str]]) -> None:
    """An ``alarm(self)`` without ``info`` would fail at every run."""

    class Deaf(DurableObject):
        class Meta:
            proxy = True
            app_label = "tests"

        def alarm(self) -> None:  # type: ignore[override]  # the mistake that is to be found
            """Cannot be called."""

    assert found(Deaf) == ["durable_objects.E003"]


@pytest.mark.parametrize(
    "wrong", ["", "x" * 2049, Counter, Note], ids=["no key", "a long key", "an object", "no one-to-one"]
)
def test_what_cannot_be_read_with_the_lock(
    found: Callable[..., list[str]], wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``read_ahead`` takes keys, and models whose primary key is a one-to-one to the object."""

    class Eager(DurableObject):
        class Meta:
            proxy = True
            app_label = "tests"

        read_ahead = ("seen", Profile)

    assert found(Eager) == []
    monkeypatch.setattr(Eager, "read_ahead", ("seen", wrong, Profile))
    assert found(Eager) == ["durable_objects.E011"]


def messages() -> set[str]:
    """The ids of all that is found wrong with the settings."""
    return {str(message.id) for message in checks.check_settings(None)}


def test_database_that_would_lose_updates_or_keep_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite without IMMEDIATE is an error, ATOMIC_REQUESTS a warning."""

    def found_with(**database: object) -> set[str]:
        default = {"ENGINE": "django.db.backends.sqlite3", "NAME": "x", **database}
        for module in (checks, supported):
            monkeypatch.setattr(module, "connections", ConnectionHandler({"default": default}))
        return messages() & {"durable_objects.E004", "durable_objects.W005"}

    assert found_with(ATOMIC_REQUESTS=True) == {"durable_objects.E004", "durable_objects.W005"}
    assert found_with(OPTIONS={"transaction_mode": "DEFERRED"}) == {"durable_objects.E004"}
    assert found_with(OPTIONS={"transaction_mode": None}) == {"durable_objects.E004"}
    assert found_with(OPTIONS={"transaction_mode": "IMMEDIATE"}) == set()
    assert found_with(OPTIONS={"transaction_mode": "exclusive"}) == set(), "stricter than it need be"
    assert found_with(ENGINE="django.db.backends.postgresql") == set()


@pytest.mark.parametrize(
    ("pool", "worker_pool", "is_warned"),
    [
        (True, "threads", True),
        ({"max_size": 8}, "threads", True),
        ({"max_size": 9}, "threads", False),
        ({"min_size": 20}, "gevent", False),
        (None, "threads", False),
        (True, "prefork", False),
    ],
)
def test_pool_that_is_smaller_than_the_workers_threads(
    monkeypatch: pytest.MonkeyPatch,
    set_celery: Callable[..., None],
    pool: object,
    worker_pool: str,
    is_warned: bool,
) -> None:
    """With eight threads, Django's pool has to have more than eight connections, as far as the settings tell (W019)."""
    default = {"ENGINE": "django.db.backends.postgresql", "NAME": "x", "OPTIONS": {"pool": pool}}
    for module in (checks, supported):
        monkeypatch.setattr(module, "connections", ConnectionHandler({"default": default}))
    set_celery(worker_concurrency=8, worker_pool=worker_pool)
    assert ("durable_objects.W019" in messages()) is is_warned


@pytest.mark.parametrize(("threads", "is_warned"), [(8, True), (3, False)])
def test_worker_says_when_its_pool_is_small(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, threads: int, is_warned: bool
) -> None:
    """However its number of threads was set, a worker that starts with a smaller pool reports it."""
    default = {"ENGINE": "django.db.backends.postgresql", "NAME": "x", "OPTIONS": {"pool": {"max_size": 4}}}
    monkeypatch.setattr(supported, "connections", ConnectionHandler({"default": default}))
    tasks.count_threads(SimpleNamespace(pool=TaskPool(threads)))
    tasks.forget_threads()
    assert ("max_size" in caplog.text) is is_warned


@pytest.mark.services("postgresql")
@pytest.mark.parametrize(
    ("options", "ids"),
    [("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0", ["durable_objects.E015"]), ("", [])],
    ids=["LATIN1", "UTF8"],
)
def test_database_that_cannot_hold_every_text(
    monkeypatch: pytest.MonkeyPatch, django_db_blocker: DjangoDbBlocker, options: LiteralString, ids: list[str]
) -> None:
    """A PostgreSQL database in another encoding than UTF-8 is refused, where Django asks for its checks."""
    with services.fresh_postgresql(options) as url, django_db_blocker.unblock():
        there = ConnectionHandler({"default": database(url, Path())})
        monkeypatch.setattr(checks, "connections", there)
        assert [message.id for message in checks._check_encoding(["default"])] == ids
        there.close_all()


def test_a_database_that_is_away_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """``check --database`` and ``migrate`` say what the database says, without a traceback and without a password."""
    away = {"ENGINE": "django.db.backends.postgresql", "HOST": "/nowhere", "NAME": "x", "PASSWORD": "hunter2-no-word"}
    monkeypatch.setattr(checks, "connections", ConnectionHandler({"default": away}))
    (found,) = checks.check_database(None, ["default"])
    assert found.id == "durable_objects.E024"
    assert "does not answer" in found.msg
    assert "hunter2" not in found.msg


@pytest.mark.parametrize("concurrency", ["auto", "", None, 0])
def test_a_concurrency_that_is_no_number_says_nothing(set_celery: Callable[..., None], concurrency: object) -> None:
    """Celery refuses it; the check of the pool does not end in a traceback before."""
    set_celery(worker_concurrency=concurrency, worker_pool="threads")
    assert "durable_objects.W019" not in messages()


def test_nobody_dispatches(settings: Settings) -> None:
    """Without a schedule, and without the word that a command does it, alarms that are far would never run."""
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_celery_beat"]
    settings.CELERY_BEAT_SCHEDULE = {}
    assert "durable_objects.W006" in messages()
    settings.CELERY_BEAT_SCHEDULE = {"any": {"task": "durable_objects.dispatch_alarms"}}
    assert "durable_objects.W006" not in messages()
    settings.CELERY_BEAT_SCHEDULE = {}
    settings.DURABLE_OBJECTS = {"DISPATCHED_BY": "command"}
    assert "durable_objects.W006" not in messages()


@pytest.mark.parametrize("how", ["beat_schedule", "add_periodic_task"])
def test_the_apps_own_schedule_counts(settings: Settings, set_celery: Callable[..., None], how: str) -> None:
    """A pass that the Celery app schedules itself, as Celery's page has it, is one; no schedule (None) is none."""
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_celery_beat"]
    settings.CELERY_BEAT_SCHEDULE = None
    app: Any = current_app
    set_celery(beat_schedule=None)
    assert "durable_objects.W006" in messages()
    set_celery(beat_schedule={})
    if how == "beat_schedule":
        app.conf.beat_schedule["passes"] = {"task": "durable_objects.dispatch_alarms", "schedule": 5.0}
    else:
        app.add_periodic_task(5.0, app.tasks["durable_objects.dispatch_alarms"].s())
    assert "durable_objects.W006" not in messages()


@pytest.mark.parametrize(
    ("queues", "missing"),
    [
        (None, []),
        ({"alarms": {}, "dispatch": {}, "mine": {}}, []),
        ([Queue("mine"), Queue("dispatch")], ["alarms"]),
        ([Queue("mine")], ["alarms", "dispatch"]),
    ],
    ids=["Celery's own", "all", "without wake-ups", "without ours"],
)
def test_queues_that_a_plain_worker_leaves_out(
    set_celery: Callable[..., None], queues: Any, missing: list[str]
) -> None:
    """Where a project lists its queues, those of wake-ups and passes belong there: each that is not is named (W022)."""
    set_celery(task_queues=queues)
    found = [message for message in checks.check_settings(None) if message.id == "durable_objects.W022"]
    assert [re.findall(r"queue '(\w+)'", message.msg) for message in found] == [[name] for name in missing]
    assert all(f"`-Q {name}`" in str(message.hint) for name, message in zip(missing, found, strict=True))


@pytest.mark.parametrize(("url", "ids"), [("redis://h", []), ("memory://", []), ("sqs://", ["durable_objects.W023"])])
def test_brokers_that_were_never_tested(set_celery: Callable[..., None], url: str, ids: list[str]) -> None:
    """``check --deploy`` reports a broker of a kind that the engine was not tried with."""
    set_celery(broker_url=url)
    found = run_checks(include_deployment_checks=True)
    assert [message.id for message in found if message.id == "durable_objects.W023"] == ids
    assert "durable_objects.W023" not in {message.id for message in run_checks()}


@pytest.mark.parametrize("app", ["batcher", "cleaner", "reminders"])
def test_apps_whose_times_would_be_off(app: str, settings: Settings) -> None:
    """Without USE_TZ an app of ours does not start: no time of it is computed silently wrong."""
    settings.USE_TZ = False
    with pytest.raises(ImproperlyConfigured, match=f"{app} needs USE_TZ = True"):
        django_apps.get_app_config(app).ready()


@pytest.mark.parametrize(
    ("app", "given", "words"),
    [
        ("DURABLE_OBJECTS", {"LEESE": timedelta(1)}, "LEASE"),
        ("DURABLE_OBJECTS", {"LEASE": 60}, "timedelta"),
        ("DURABLE_OBJECTS", {"LEASE": timedelta(0)}, "allowed: from 0:00:00.1"),
        ("DURABLE_OBJECTS", None, "expected a dict"),
        ("BATCHER", {"DEADLINE": timedelta.max}, "allowed: from 0:00:00.01"),
        ("CLEANER", {"CHUNK": 0}, "allowed: from 1 to 1,000,000"),
        ("REMINDERS", {"TIMEOUT": timedelta(-1)}, "allowed: from"),
        ("OUTGOING", {"CALLS_PER_HOST": 0}, "allowed: from 1"),
    ],
)
def test_settings_that_nobody_reads(settings: Settings, app: str, given: dict[str, Any] | None, words: str) -> None:
    """An unknown key, a value of the wrong type or out of bounds is refused with what is allowed, once, in any app."""
    setattr(settings, app, given)
    [message] = [each for each in run_checks(include_deployment_checks=False) if each.level >= ERROR]
    assert message.id == "durable_objects.E010"
    assert words in message.msg


def test_the_tests_own_classes_pass() -> None:
    """All classes of objects in this project pass the checks."""
    assert [message for message in run_checks() if str(message.id).startswith("durable_objects.E")] == []


def test_exclusive_refuses_what_would_run_outside_its_turn() -> None:
    """An ``async def`` or a generator is refused when the class is made, by name."""

    async def coroutine(self: Counter) -> None:
        """Would be awaited after the turn."""

    def generator(self: Counter) -> object:
        yield 1

    async def agen(self: Counter) -> object:
        yield 1

    for method in (coroutine, generator, agen):
        with pytest.raises(TypeError, match=method.__name__):
            exclusive(method)
