"""The embedded dispatcher: when it passes, and that trouble never ends it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from pytest_django import Settings

from durable_objects import embedding
from project.embedded import dispatcher as module
from project.embedded.dispatcher import Dispatcher

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 20.0
on_sqlite = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="only SQLite has PRAGMA data_version")


class Passes:
    """Stands in for ``embedding.run_pass``: counts, and fails the first ``failing`` times."""

    def __init__(self) -> None:
        self.count = 0
        self.failing = 0
        self._changed = threading.Condition()

    def __call__(self) -> None:
        with self._changed:
            self.count += 1
            self._changed.notify_all()
            if self.count <= self.failing:
                raise OperationalError("the database is away")

    def wait_for(self, count: int) -> None:
        """Return once there were ``count``; fails after PATIENCE."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.count >= count, PATIENCE), f"{self.count} of {count} passes"


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    passes = Passes()
    monkeypatch.setattr(embedding, "run_pass", passes)
    return passes


@pytest.fixture
def dispatcher(passes: Passes) -> Iterator[Dispatcher]:
    dispatcher = Dispatcher()
    yield dispatcher
    assert dispatcher.stop(PATIENCE)


def commit_elsewhere() -> None:
    """A commit by a connection that is not the dispatcher's, as another process would make it."""
    name: Any = connection.settings_dict["NAME"]
    other = sqlite3.connect(name, timeout=PATIENCE, isolation_level=None)
    other.execute(f"PRAGMA user_version = {time.monotonic_ns() % 2**31}")
    other.close()


def test_the_first_pass_is_at_once(dispatcher: Dispatcher, passes: Passes) -> None:
    """What is overdue at the start does not wait for the first interval."""
    began = time.monotonic()
    dispatcher.start()
    passes.wait_for(1)
    assert time.monotonic() - began < 1


def test_it_passes_at_every_interval(dispatcher: Dispatcher, passes: Passes, settings: Settings) -> None:
    """Without any news there is a pass every DISPATCH_EVERY."""
    settings.DURABLE_OBJECTS = {"DISPATCH_EVERY": timedelta(seconds=0.3)}
    dispatcher.start()
    passes.wait_for(3)


@on_sqlite
def test_a_commit_of_another_process_is_noticed(dispatcher: Dispatcher, passes: Passes, settings: Settings) -> None:
    """On SQLite a commit elsewhere brings a pass long before the next interval."""
    settings.DURABLE_OBJECTS = {"DISPATCH_EVERY": timedelta(hours=1)}
    dispatcher.start()
    passes.wait_for(1)
    commit_elsewhere()
    passes.wait_for(2)


def test_trouble_never_ends_it(
    dispatcher: Dispatcher, passes: Passes, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass that fails is tried again when the engine says, until one works; then the usual interval holds again."""
    failures: list[int] = []

    def pause_after(number: int) -> timedelta:
        failures.append(number)
        return timedelta(seconds=0.05)

    monkeypatch.setattr(module, "SECONDS_PER_LOOK", 0.01)
    monkeypatch.setattr(embedding, "pause_after", pause_after)
    settings.DURABLE_OBJECTS = {"DISPATCH_EVERY": timedelta(seconds=0.01)}
    passes.failing = 4
    began = time.monotonic()
    dispatcher.start()
    passes.wait_for(7)
    assert time.monotonic() - began > 4 * 0.05
    assert (failures, dispatcher.is_alive()) == ([1, 2, 3, 4], True)
