"""What the driver refuses before the server sees it: the mistake of whoever executes it, and no lost session."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from durable_objects.execution.executor import fire
from durable_objects.execution.wake_up_admission import Verdict
from durable_objects.tables import Alarm, Object
from tests.models import Note, Script, Scripted

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor == 'sqlite'", reason="PostgreSQL's: set TEST_DATABASE_URL=postgresql://…"),
]


def execute(statement: str, *params: Any) -> None:
    """By a handler's own cursor."""
    with connection.cursor() as cursor:
        cursor.execute(statement, params)


#: What the driver refuses by itself, so that there is no SQLSTATE.
MISTAKES: dict[str, Callable[[], object]] = {
    "parameters": lambda: execute("SELECT %s", 1, 2),
    "value": lambda: execute("SELECT %s", object()),
    "NUL": lambda: Note.objects.create(text="a\0b"),
    "no rows": lambda: connection.cursor().fetchone(),
    "closed cursor": lambda: [cursor := connection.cursor(), cursor.close(), cursor.execute("SELECT 1")],
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_the_driver_refuses_is_the_handlers_failure(obj: Scripted, script: Script, mistake: str) -> None:
    """A statement that never reached the server counts as any other mistake: no lost session, which would count
    nothing, ever.
    """
    script.alarm = lambda obj, info: MISTAKES[mistake]()
    obj.storage.set_alarm(timedelta(0))
    assert fire(Object.objects.get().pk).verdict is Verdict.FAILED
    assert Alarm.objects.get().retry_count == 1
