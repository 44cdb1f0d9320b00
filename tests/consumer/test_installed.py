"""The wheel in projects of others' making: their servers, queues, users and databases, and alarms that run in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.brokers.conftest import own_broker
from tests.consumer.foreign import Foreign
from tests.support import services
from tests.support.site_processes import SECONDS_TO_START, Process, Processes

#: What is further away has no message yet: it runs only if somebody dispatches.
HORIZON = timedelta(seconds=1)
SECONDS_AHEAD = 3
WITHIN = 30.0

SETTINGS: dict[str, Any] = {
    "AUTH_USER_MODEL": "accounts.User",
    "ROOT_URLCONF": "accounts.urls",
    "ALLOWED_HOSTS": ["127.0.0.1", "testserver"],
    "DURABLE_OBJECTS": {"HORIZON": HORIZON, "DISPATCH_EVERY": HORIZON},
}
APPS = "admin auth contenttypes sessions messages staticfiles"
INSTALLED = [*(f"django.contrib.{app}" for app in APPS.split()), "durable_objects", "shop", "accounts"]
ROUTER = ["durable_objects.routers.Router"]
CONFIGURED = """
from durable_objects import celery_settings

globals().update(celery_settings(CELERY_BROKER_URL, globals()))
"""

#: What is left after it all, and whether the admin's pages show it.
LOOK = """
from accounts.models import Trial, User
from django.test import Client
from durable_objects.models import Alarm, AlarmRun, Object
User.objects.create_superuser("root", "root@example.com", "root")
client = Client()
client.login(username="root", password="root")
pages = ["durable_objects/alarmrun/", "accounts/trial/", "accounts/user/"]
answer({
    "objects": Object.objects.count(),
    "alarms": Alarm.objects.exclude(due_at=None).count(),
    "runs": list(AlarmRun.objects.values_list("outcome", flat=True)),
    "early": AlarmRun.objects.filter(started_at__lt=models.F("due_at")).count(),
    "pages": [client.get(f"/admin/{page}").status_code for page in pages],
})
"""
LEFT = {"objects": 2, "alarms": 0, "runs": ["succeeded", "succeeded"], "early": 0, "pages": [200, 200, 200]}


@dataclass(frozen=True, slots=True)
class Case:
    """A project: what it is installed in, its servers, its settings, and how its worker and its dispatcher start."""

    environment: str
    database: str
    broker: str
    settings: dict[str, Any]
    worker: tuple[str, ...]
    dispatcher: tuple[str, ...]
    #: Whether its settings take ``celery_settings()``.
    is_configured: bool = True
    aliases: tuple[str, ...] = ("default",)
    options: dict[str, Any] = field(default_factory=dict)


CASES = {
    "PostgreSQL, RabbitMQ, prefork, django-celery-beat, queues of its own": Case(
        "locked",
        "postgresql",
        "rabbitmq",
        {
            "INSTALLED_APPS": [*INSTALLED, "django_celery_beat"],
            "CELERY_TASK_DEFAULT_QUEUE": "main",
            "CELERY_TASK_ROUTES": {"durable_objects.*": {"queue": "timers"}, "accounts.*": {"queue": "letters"}},
            "CELERY_BEAT_SCHEDULER": "django_celery_beat.schedulers:DatabaseScheduler",
        },
        ("--queues", "main,timers,letters", "--pool", "prefork"),
        ("-m", "celery", "-A", "mysite", "beat"),
        is_configured=False,
    ),
    "SQLite twice, Redis, threads, the loop": Case(
        "newest",
        "sqlite",
        "redis",
        {"DURABLE_OBJECTS": {**SETTINGS["DURABLE_OBJECTS"], "DATABASE": "other", "DISPATCHED_BY": "command"}},
        ("--pool", "threads"),
        ("manage.py", "alarms", "dispatch", "--loop"),
        aliases=("default", "other"),
        options={"init_command": "PRAGMA journal_mode = WAL"},
    ),
    "PostgreSQL twice, RabbitMQ, threads, a pool, Celery's own beat": Case(
        "newest",
        "postgresql",
        "rabbitmq",
        {
            "DURABLE_OBJECTS": {**SETTINGS["DURABLE_OBJECTS"], "DATABASE": "other"},
            "CELERY_TASK_ROUTES": {"accounts.*": {"queue": "letters"}},
        },
        ("--queues", "celery,letters,alarms,dispatch", "--pool", "threads"),
        ("-m", "celery", "-A", "mysite", "beat"),
        aliases=("default", "other"),
        options={"pool": {"min_size": 1, "max_size": 6}},
    ),
}


@contextmanager
def project_of(case: Case, folder: Path, python: Path) -> Iterator[Foreign]:
    """The project on servers of its own, its tables made."""
    with ExitStack() as stack:
        if case.database == "postgresql":
            urls = {alias: stack.enter_context(services.fresh_postgresql()) for alias in case.aliases}
        else:
            urls = {alias: f"sqlite:///{folder / alias}.sqlite3" for alias in case.aliases}
        broker = stack.enter_context(own_broker(case.broker, folder))
        project = Foreign(folder / "foreign", urls, python=python)
        databases = project.databases
        for alias, each in databases.items():
            each["ATOMIC_REQUESTS"] = True
            each["OPTIONS"] |= case.options
            if case.database == "sqlite":
                each["TEST"] = {"NAME": str(folder / f"test-{alias}.sqlite3")}
        routers = ROUTER if len(urls) > 1 else []
        given = {"INSTALLED_APPS": INSTALLED, **SETTINGS, **case.settings}
        project.set(DATABASES=databases, DATABASE_ROUTERS=routers, CELERY_BROKER_URL=broker.url, **given)
        if case.is_configured:
            settings = project.folder / "mysite" / "settings.py"
            settings.write_text(settings.read_text("utf-8") + CONFIGURED)
        project.manage("makemigrations", "accounts").well()
        for alias in urls:
            project.manage("migrate", "-v0", "--skip-checks", "--database", alias).well()
        yield project


class Running(Processes):
    """The project's processes."""

    def __init__(self, project: Foreign, folder: Path) -> None:
        super().__init__(folder, project.environment(), at=project.folder, python=project.interpreter)

    def web(self) -> httpx.Client:
        """An ASGI server, ready: a client of it."""
        server = self.start("web", "-m", "uvicorn", "mysite.asgi:application", "--port", "0")
        found = re.search(r"running on (http://\S+)", server.says("running on http").text())
        assert found
        return httpx.Client(base_url=found[1], timeout=SECONDS_TO_START, trust_env=False)

    def worker(self, *options: str) -> Process:
        """A worker, ready."""
        arguments = ["-m", "celery", "-A", "mysite", "worker", "--loglevel", "INFO", "--concurrency", "2"]
        return self.start("worker", *arguments, *options).says(" ready.")


@pytest.mark.slow
@pytest.mark.services("postgresql", "redis", "rabbitmq")
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name, marks=[] if "django-celery-beat" in name else [pytest.mark.chaos])
        for name, case in CASES.items()
    ],
)
def test_alarms_run_in_a_project_that_has_only_the_wheel(
    case: Case, tmp_path: Path, environments: dict[str, Path]
) -> None:
    """Set by a view inside ATOMIC_REQUESTS and by an async one, they run once and not early, and send a task.

    What a failed request did is gone; the project's own tests pass, with the fixtures of the plugin.
    """
    with project_of(case, tmp_path, environments[case.environment]) as project:
        project.manage("check").well()
        with Running(project, tmp_path) as running:
            running.worker(*case.worker)
            running.start("dispatcher", *case.dispatcher)
            with running.web() as web:
                for path in ("begin/ada", "begin-async/eve"):
                    assert web.get(f"/{path}/{SECONDS_AHEAD}").raise_for_status().json()["alarm"]
                assert web.get("/fail/zoe").status_code == 500
                running.wait_for(
                    "both to be locked out, with a letter each",
                    lambda: web.get("/users").json(),
                    seconds=WITHIN,
                    until=lambda users: users == {"ada": 1, "eve": 1},
                )
            if case.is_configured:
                project.manage("alarms", "doctor").well()
        assert project.run(f"from django.db import models\n{LOOK}") == LEFT
        tests = project.python("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "accounts").well()
        assert "2 passed" in tests.out
