"""What a turn needs to know of an object, so that it need not know the class that users subclass."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar, Protocol, TypeVar

from django.db import models

from durable_objects.errors import AlarmHandlerMissing

Result = TypeVar("Result")

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


class Owner(Handle, Protocol):
    """What storage needs to know of its object."""

    def run_exclusive(self, call: Callable[[], Result]) -> Result:
        """Call in a turn."""

    def has_alarm_handler(self) -> bool:
        """Whether the class has an ``alarm()`` of its own."""


def check_has_handler(owner: Owner) -> None:
    """Refuse an alarm for what has no ``alarm()``: raises ``AlarmHandlerMissing``."""
    if not owner.has_alarm_handler():
        raise AlarmHandlerMissing(f"{owner.key[0]} has no alarm() of its own: define one to set an alarm")
