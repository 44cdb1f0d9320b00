"""Handles of objects whose class this code does not have, for what can be done to any object."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.db import models

from durable_objects.errors import RunSuperseded
from durable_objects.kinds import label_of
from durable_objects.tables import Object
from durable_objects.turns.handle import Key


class Parked:
    """The handle of an object by its row alone: no ``initialize()`` runs, no field is read, no row is inserted."""

    alarm_groups: ClassVar[bool] = False
    alarm_concurrency: ClassVar[int | None] = None
    alarm_rate: ClassVar[float | None] = None
    declared_schedules = ()
    read_ahead: ClassVar[tuple[str | type[models.Model], ...]] = ()
    #: Of its turn, which does nothing slow.
    alarm_time_limit: ClassVar[timedelta] = timedelta(minutes=1)

    def __init__(self, row: Object) -> None:
        self.name = row.name
        self._row = row

    @property
    def key(self) -> Key:
        """The label that the content type has for the class, and the name."""
        return label_of(self._row.kind_id), self.name

    def kind_pk(self) -> int:
        """Return the primary key of the class's content type."""
        return self._row.kind_id

    def admitted(self, object_id: int) -> None:
        """Raise ``RunSuperseded`` for another row than this one: the object was deleted and created again."""
        if object_id != self._row.pk:
            raise RunSuperseded(f"object {self._row.pk} ({self.name!r}) is gone: somebody deleted it")

    def follow(self, other: object, *, keep_unsaved: bool) -> None:
        """Do nothing: it has no fields."""

    def initialize(self) -> None:
        """Do nothing: only the class could."""
