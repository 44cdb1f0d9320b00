"""What every test may ask for."""

from __future__ import annotations

import gc
import os
import shutil
import warnings
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from celery import current_app
from django.conf import settings
from django.contrib import admin
from django.db import connections
from django.test import TransactionTestCase
from django.urls import set_urlconf
from hypothesis import settings as hypothesis_settings
from pytest_django import DjangoDbBlocker

from tests.support import services
from tests.support.examples import examples

pytest_plugins = ["durable_objects.pytest_plugin"]


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder of the SQLite test database, and let an example of Hypothesis's take as long as it does.

    No garbage is collected before the first test: nearly all that is made by then stays.
    """
    gc.disable()
    settings.FOLDER.mkdir(mode=0o700, exist_ok=True)
    hypothesis_settings.register_profile("unhurried", deadline=None, max_examples=examples(100))  # 200 ms prove nothing
    hypothesis_settings.load_profile("unhurried")


def pytest_sessionstart() -> None:
    """Import the admin's classes, as the first page of a web server's does."""
    admin.autodiscover()


def pytest_collection_finish() -> None:
    """Collect garbage from here on, and leave what stays out of it: modules, tests and their parameters."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove that folder, whatever was left in it."""
    shutil.rmtree(settings.FOLDER, ignore_errors=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """``@pytest.mark.services("redis")`` runs where Redis answers; see ``services.require``."""
    for marker in item.iter_markers("services"):
        for name in marker.args:
            services.require(name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """A test that talks to others closes what it has opened: the garbage collector would find it in a later test, and
    fail that one.
    """
    yield
    if any(item.get_closest_marker(name) for name in ("slow", "services", "browser")):
        with warnings.catch_warnings(record=True) as left:
            warnings.simplefilter("always", ResourceWarning)
            gc.collect()
        assert not left, "left open: " + ", ".join(str(warning.message) for warning in left)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """pytest-django's own; what a test commits is then removed by ``MigratedDatabase`` instead of Django's flush.

    With ``TEST_PARTITIONS=16`` the engine's tables are cut into so many hash partitions first.
    """
    from durable_objects.operations.partitions import partition
    from tests.support.migrated_database import MigratedDatabase

    with django_db_blocker.unblock():
        partition(int(os.environ.get("TEST_PARTITIONS") or 1))
        migrated = {alias: MigratedDatabase(alias) for alias in connections}

    def restore(case: Any) -> None:
        for alias in case._databases_names(include_mirrors=False):
            migrated[alias].restore()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", restore)
        yield


@pytest.fixture(autouse=True)
def _django_set_urlconf(request: pytest.FixtureRequest) -> Iterator[None]:
    """Obey ``@pytest.mark.urls`` in place of pytest-django's fixture, which has Django forget all addresses before and
    after such a test. Django keeps those of each module apart; to read admin's again took a tenth of such tests' time.
    """
    marker = request.node.get_closest_marker("urls")
    if marker is None:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "ROOT_URLCONF", *marker.args)
        set_urlconf(None)  # what the last request of this thread has set
        yield
    set_urlconf(None)


@pytest.fixture(autouse=True)
def remembered_nothing() -> None:
    """Each test begins as a new process does: what this one remembers of rows would outlive them in the rollback. And
    with objects that do nothing, whatever an earlier test has had them do.
    """
    from django.core.cache import cache

    from durable_objects import health
    from durable_objects.delivery import dispatcher, processes, publisher
    from durable_objects.execution import waiting_line
    from durable_objects.http import tokens
    from tests.models import Script, Scripted

    Scripted.script = Script()
    health._migrated = False
    processes._signed = processes.NEVER_SIGNED
    dispatcher._last_pruned = dispatcher.NEVER
    publisher._publisher.broken_until = 0.0
    waiting_line._logged.clear()
    tokens._trusted.clear()
    cache.clear()


@pytest.fixture
def set_celery(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``set_celery(worker_pool="threads")``: settings of Celery's, by its own names, for this test."""
    app: Any = current_app
    _ = app.conf.broker_url  # read by now: what was set before would be lost

    def change(**values: Any) -> None:
        for name, value in values.items():
            # By the name in Django's settings, which Celery before 5.7 prefers wherever it stands.
            monkeypatch.setitem(app.conf.changes, f"CELERY_{name.upper()}", value)

    return change


@pytest.fixture
def postgresql_url() -> Iterator[str]:
    """The URL of an empty PostgreSQL database of this test's own."""
    with services.fresh_postgresql() as url:
        yield url


@pytest.fixture
def redis_url() -> str:
    """The URL of a Redis that answers; keys are the test's own to name and remove."""
    return services.require("redis")


@pytest.fixture
def rabbitmq_url() -> str:
    """The URL of a RabbitMQ that answers; queues are the test's own to name and remove."""
    return services.require("rabbitmq")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test printed or logged may hold lone surrogates, which reports between processes cannot carry."""
    report = yield
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return report
