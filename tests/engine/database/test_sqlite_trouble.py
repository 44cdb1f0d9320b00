"""SQLite: what was answered is on disk, and a full disk is no handler's fault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.utils import ConnectionHandler

from durable_objects import ObjectBusy
from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.tables import Alarm, AlarmRun, Object
from project.environment import database
from tests.models import Counter, Script, Scripted
from tests.support.database_sessions import one_value
from tests.support.threads import InThread

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'sqlite'", reason="SQLite's"),
]

LARGE = "x" * 1_000_000


@contextmanager
def full() -> Iterator[None]:
    """The file may not grow any more, as on a full disk."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")  # what other tests have left in it can be filled as well
    pages = one_value("PRAGMA page_count")
    before = one_value("PRAGMA max_page_count")
    one_value(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        one_value(f"PRAGMA max_page_count = {before}")


def test_every_connection_waits_for_the_disk(tmp_path: Path) -> None:
    """In every thread the project's ``synchronous`` is FULL (2): a commit is on disk before it is answered."""
    project = ConnectionHandler({"default": database(f"sqlite:///{tmp_path / 'db.sqlite3'}", tmp_path)})

    def pragmas() -> list[Any]:
        """On a connection of this thread's own."""
        with closing(project["default"]) as conn, conn.cursor() as cursor:
            return [cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")]

    assert pragmas() == InThread(pragmas).result() == [2, "wal"]


def test_full_disk_uses_up_no_retry(obj: Scripted, script: Script) -> None:
    """A run that cannot be stored comes again uncounted, and runs when there is space."""
    script.alarm = lambda obj, info: obj.storage.put("large", LARGE)
    obj.storage.set_alarm(timedelta(0))
    pk = Object.objects.get().pk
    with full():
        assert fire(pk).verdict is Verdict.AGAIN
    assert (Alarm.objects.get().retry_count, AlarmRun.objects.count(), obj.storage.list()) == (0, 0, {})
    assert fire(pk).verdict is Verdict.SUCCEEDED


def test_caller_is_told_that_the_disk_is_full() -> None:
    """``ObjectBusy`` with SQLite's words; nothing was changed."""
    counter = Counter.objects.get_by_name("a")
    counter.add()
    with full(), pytest.raises(ObjectBusy, match="full"):
        counter.storage.put("large", LARGE)
    assert counter.storage.list() == {"count": 1}
    assert connection.in_atomic_block is False
