"""What a turn needs of an object, so that it need not import the class that users subclass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Protocol, TypeVar

from django.db import models

from durable_objects.alarms.declarations import Declaration
from durable_objects.errors import AlarmHandlerMissing

Result = TypeVar("Result")

#: Class label and name.
Key = tuple[str, str]


def shown(key: Key) -> str:
    """Return a key as messages show it: ``shop.Cart 'ada'``."""
    return f"{key[0]} {key[1]!r}"


class Handle(Protocol):
    """What a turn needs of an object."""

    name: str
    alarm_time_limit: ClassVar[timedelta]
    alarm_groups: ClassVar[bool]
    alarm_concurrency: ClassVar[int | None]
    alarm_rate: ClassVar[float | None]

    @property
    def key(self) -> Key:
        """Class label and name."""

    @property
    def read_ahead(self) -> tuple[str | type[models.Model], ...]:
        """What its turns read anyway, prefetched with the lock."""

    @property
    def declared_schedules(self) -> Sequence[Declaration]:
        """The schedules that its class declares for it."""

    def kind_pk(self) -> int:
        """Return the primary key of the class's content type."""

    def admitted(self, object_id: int) -> None:
        """Take over the key of the row, which is locked, and read own fields again."""

    def follow(self, other: Any, *, keep_unsaved: bool) -> None:
        """Take over what another instance of this object has just read, or saved."""

    def initialize(self) -> None:
        """Start a turn, in the object's own code."""


class Owner(Handle, Protocol):
    """What storage needs of its object."""

    def run_exclusive(self, call: Callable[[], Result]) -> Result:
        """Call in a turn."""

    def has_alarm_handler(self) -> bool:
        """Return whether the class has an ``alarm()`` of its own."""

    def has_initialize(self) -> bool:
        """Return whether the class has an ``initialize()`` of its own."""


def check_has_handler(owner: Owner) -> None:
    """Refuse an alarm for what has no ``alarm()``: raises ``AlarmHandlerMissing``."""
    if not owner.has_alarm_handler():
        raise AlarmHandlerMissing(f"{owner.key[0]} has no alarm() of its own: define one to set an alarm")
