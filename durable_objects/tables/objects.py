"""Objects and the entries of their storage. ``turns`` makes objects' rows, ``entries`` writes entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from django.contrib.contenttypes.models import ContentType
from django.db import models

from durable_objects.tables.columns import ByteOrderCharField, ByteOrderTextField, RowManager


class Object(models.Model):
    """One durable object: a class (``kind``) and a name. Locking this row locks the object."""

    id = models.BigAutoField(primary_key=True)
    kind = models.ForeignKey(ContentType, on_delete=models.PROTECT, related_name="+", editable=False, db_index=False)
    name = ByteOrderCharField(max_length=512)

    objects: ClassVar[RowManager[Self]] = RowManager()

    if not TYPE_CHECKING:  # see DurableObject

        class Meta:
            verbose_name = "object"
            constraints = [models.UniqueConstraint(fields=["kind", "name"], name="durable_objects_one_per_name")]
            indexes = [models.Index(fields=["kind", "id"], name="durable_objects_of_kind")]

    def __str__(self) -> str:
        return self.name


class Entry(models.Model):
    """One key of an object's storage, its value as JSON text (see ``values``)."""

    id = models.BigAutoField(primary_key=True)
    object = models.ForeignKey(Object, on_delete=models.CASCADE, related_name="+", db_index=False)
    key = ByteOrderTextField()
    value = models.TextField()

    objects: ClassVar[RowManager[Self]] = RowManager()

    class Meta:
        verbose_name_plural = "entries"
        constraints = [models.UniqueConstraint(fields=["object", "key"], name="durable_objects_one_per_key")]

    def __str__(self) -> str:
        return self.key
