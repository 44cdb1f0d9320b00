"""Lists of the admin as somebody wants to see them again: written by ``admin.saved_views``."""

from __future__ import annotations

from typing import ClassVar, Self

from django.db import models

from durable_objects.tables.columns import RowManager


class SavedView(models.Model):
    """A search of a list with its filters, under a name: for the user who saved it, or for all who see the list."""

    id = models.BigAutoField(primary_key=True)
    #: The model that is listed (``durable_objects.alarm``), and what stands behind ``?`` in the list's address.
    list = models.CharField(max_length=201)
    query = models.TextField()
    name = models.CharField(max_length=60)
    is_shared = models.BooleanField("for everybody who may see this list", default=False)
    #: The primary key of the admin's user who saved it, whose table may be in another database; and their name.
    user = models.CharField(max_length=64)
    by = models.CharField(max_length=150)

    objects: ClassVar[RowManager[Self]] = RowManager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["list", "user", "name"], name="durable_objects_view_by_name")]

    def __str__(self) -> str:
        return self.name
