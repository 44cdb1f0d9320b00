"""Storage beside rows of the user's own: what is said to both, and whether they agree."""

from __future__ import annotations

from django.db import connection

from durable_objects.models import DurableObject
from tests.models import Note


def sql(text: str) -> None:
    """Say it by Django's cursor."""
    with connection.cursor() as cursor:
        cursor.execute(text)


def write(obj: DurableObject, name: str) -> None:
    """The same into storage and into a row of one's own."""
    obj.storage.put(name, 1)
    Note.objects.create(text=name)


def agree(obj: DurableObject) -> None:
    """The object's storage has what the rows have."""
    assert set(obj.storage.list()) == set(Note.objects.values_list("text", flat=True))
    assert not connection.execute_wrappers
