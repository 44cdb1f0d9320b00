"""A new alarm row: a turn writes what it changed, the database the rest."""

from __future__ import annotations

import dataclasses

import pytest
from django.db import connection, models

from durable_objects.alarms.slot import Slot
from durable_objects.tables import Alarm, AlarmRun, Entry, Object
from tests.models import Counter

pytestmark = pytest.mark.django_db


def test_the_defaults_of_the_database_are_those_of_a_slot() -> None:
    """A row that is made of its keys alone reads as a slot in which nothing was changed."""
    row = Object.objects.create(kind_id=Counter.kind_pk(), name="a")
    with connection.cursor() as cursor:
        insert = f"INSERT INTO {Alarm._meta.db_table} (object_id, kind_id) VALUES (%s, %s)"
        cursor.execute(insert, [row.pk, row.kind_id])
    stored, slot = Alarm.objects.get(pk=row.pk), Slot(row.pk, row.kind_id)
    columns = {field.name for field in Alarm._meta.concrete_fields if not isinstance(field, models.ForeignKey)}
    shared = columns & {field.name for field in dataclasses.fields(Slot)}
    assert columns - shared == {"wake_at", "error_group"}, "what the database computes, and what is of the last error"
    assert {name: getattr(stored, name) for name in shared} == {name: getattr(slot, name) for name in shared}
    assert (stored.wake_at, stored.error_group) == (None, "")


@pytest.mark.parametrize("model", [Alarm, AlarmRun, Entry])
def test_the_tables_that_runs_write_have_no_checks(model: type[models.Model]) -> None:
    """PostgreSQL reads each CHECK of a table again for each statement that writes to it: twelve were a tenth of what it
    spent on a run.
    """
    checked = [field.name for field in model._meta.concrete_fields if field.db_check(connection)]
    constraints = [each for each in model._meta.constraints if isinstance(each, models.CheckConstraint)]
    assert (checked, constraints) == ([], [])
