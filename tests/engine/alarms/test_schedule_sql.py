"""What turns changed of schedules is stored by statements that every database takes."""

from __future__ import annotations

import pytest
from django.db import connection

from durable_objects.alarms.schedule_sql import storing
from durable_objects.alarms.schedules import ScheduledCall

#: SQLite's own, which its distributors may raise.
MOST_PARAMETERS = 32_766


@pytest.mark.django_db
def test_many_schedules_are_stored_by_several_statements() -> None:
    """Three schedules of each of 1,000 objects, as ``migrate`` sets them in one transaction: all of them, and no
    statement has more parameters than SQLite takes.
    """
    call = ScheduledCall("", "scheduled", "[[], {}]", '{"every": "60"}', "one", None, 1)
    statements = list(storing(connection, {(pk, 1): dict.fromkeys("abc", call) for pk in range(1_000)}))
    assert sum(sql.count("(%s") for sql, _ in statements) == 3_000
    assert all(sql.count("%s") == len(params) <= MOST_PARAMETERS for sql, params in statements)
