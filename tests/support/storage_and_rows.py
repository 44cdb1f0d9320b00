"""The same writes to storage and to rows of a test's own, and a check that both agree."""

from __future__ import annotations

from django.db import connection

from durable_objects.models import DurableObject
from tests.models import Note


def sql(text: str) -> None:
    """Execute it by Django's cursor."""
    with connection.cursor() as cursor:
        cursor.execute(text)


def write(obj: DurableObject, name: str) -> None:
    """Write the same into storage and into a row."""
    obj.storage.put(name, 1)
    Note.objects.create(text=name)


def agree(obj: DurableObject) -> None:
    """Assert that the object's storage has what the rows have."""
    assert set(obj.storage.list()) == set(Note.objects.values_list("text", flat=True))
    assert not connection.execute_wrappers
