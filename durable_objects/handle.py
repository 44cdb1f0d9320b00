"""What a turn needs to know of an object, so that it need not know the class that users subclass."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar, Protocol

from django.db import models

Key = tuple[str, str]


class Handle(Protocol):
    """What a turn needs to know of an object."""

    name: str
    alarm_time_limit: timedelta
    alarm_groups: ClassVar[bool]

    @property
    def key(self) -> Key:
        """Class label and name."""

    @property
    def read_ahead(self) -> tuple[str | type[models.Model], ...]:
        """What its turns read anyway, to come with the lock."""

    def kind_pk(self) -> int:
        """The primary key of the class's content type."""

    def admitted(self, object_id: int) -> None:
        """The object's row is locked: take over its key, read own fields again."""

    def follow(self, other: Any, *, keep_unsaved: bool) -> None:
        """Take over what another instance of this object has just read, or saved."""

    def initialize(self) -> None:
        """The object's own start of a turn."""
