"""What is cleaned: a cleaner's own storage, or the rows of a Django model, walked in the order of their keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple, Protocol

from django.conf import settings
from django.db import connections, models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Count, Min, Q
from django.utils import timezone

from cleaner import chunking, expiry, setting_rules
from durable_objects.bulk_delete import first_below, sweep
from durable_objects.conf import engine
from durable_objects.models import DurableObject, Entry


class Chunk(NamedTuple):
    """A part that was examined: how many rows it has, how many of them are expired (and deleted, unless they were only
    counted), the oldest of the others, and the key to continue after; None when the end was reached. ``in_seconds`` is
    how many were left alone because their timestamp looks like seconds.
    """

    examined: int
    expired: int
    oldest_left: datetime | None
    last: str | None
    in_seconds: int = 0


class Expired(NamedTuple):
    """A row that is too old: its key, and since when it is of that age (None where that is out of range)."""

    key: str
    since: datetime | None


class Target(Protocol):
    """Something to clean. ``most`` is how many rows one chunk may have at all."""

    name: str
    most: int

    def chunk(self, after: str | None, limit: int, older_than: datetime, *, delete: bool) -> Chunk:
        """Walk over the next ``limit`` rows behind ``after`` and delete the expired ones, or only count them."""

    def expired(self, after: str | None, limit: int, older_than: datetime, most: int) -> list[Expired]:
        """Return the first ``most`` of the rows that ``chunk`` with these arguments would delete."""

    def connection(self) -> BaseDatabaseWrapper:
        """Return the connection to the rows' database."""

    def size(self, at_most: int) -> int:
        """Count the rows, up to ``at_most``."""


class OwnStorage:
    """The entries of the cleaner itself."""

    name = "storage"
    most = 50_000

    def __init__(self, cleaner: DurableObject) -> None:
        self._cleaner = cleaner

    def chunk(self, after: str | None, limit: int, older_than: datetime, *, delete: bool) -> Chunk:
        """Clean in one statement (SQLite: two), in which no value leaves the database."""
        if delete:
            chunking.commit_without_waiting(self.connection())
        words, bound = expiry.expressions(self.connection().vendor), expiry.milliseconds(older_than)
        swept = sweep(self._cleaner, bound=bound, start_after=after, limit=limit, delete=delete, **words)
        return Chunk(swept.walked, swept.below, expiry.moment(swept.least_left), swept.last, swept.aside)

    def expired(self, after: str | None, limit: int, older_than: datetime, most: int) -> list[Expired]:
        """Read keys and timestamps only."""
        words, bound = expiry.expressions(self.connection().vendor), expiry.milliseconds(older_than)
        found = first_below(self._cleaner, bound=bound, start_after=after, limit=limit, most=most, **words)
        return [Expired(key, expiry.moment(rank)) for key, rank in found]

    def connection(self) -> BaseDatabaseWrapper:
        """Return the engine's connection."""
        return connections[engine.DATABASE]

    def size(self, at_most: int) -> int:
        """Count the entries, up to ``at_most``."""
        own = type(self._cleaner).objects.filter(name=self._cleaner.name).values("pk")
        return Entry.objects.using(self.connection().alias).filter(object__in=own).values("pk")[:at_most].count()


class ModelRows:
    """The rows of a Django model, deleted as ``QuerySet.delete()`` does.

    One statement without reading them where nothing else depends on them; otherwise they are collected, cascades are
    followed and signals sent, and what is PROTECTed raises.
    """

    #: The rows that are in memory at most, where they have to be collected.
    most = 2_000

    def __init__(self, label: str, field: str) -> None:
        """Raises ``InvalidInput`` when the project's settings do not allow it, or it does not exist."""
        label, field = setting_rules.choose(label, field)
        self._model, self._field = setting_rules.resolve(label, field)
        self.name = f"{label}.{field}"

    def chunk(self, after: str | None, limit: int, older_than: datetime, *, delete: bool) -> Chunk:
        """Clean in order of the primary key, whatever else the model is ordered by."""
        field, bound = self._field.name, self._bound(older_than)
        part, last = self._part(after, limit)
        expired, left = Q(**{f"{field}__lt": bound}), Q(**{f"{field}__gte": bound})
        found = part.aggregate(
            examined=Count("pk"), expired=Count("pk", filter=expired), oldest=Min(field, filter=left)
        )
        removed = found["expired"]
        if delete and removed:
            removed = part.filter(expired).delete()[1].get(self._model._meta.label, 0)
        return Chunk(found["examined"], removed, _aware(found["oldest"]), None if last is None else self._text(last))

    def expired(self, after: str | None, limit: int, older_than: datetime, most: int) -> list[Expired]:
        """Read primary keys and the field only."""
        field, part, _ = self._field.name, *self._part(after, limit)
        rows = part.filter(**{f"{field}__lt": self._bound(older_than)}).order_by("pk").values_list("pk", field)
        return [Expired(self._text(pk), _aware(since)) for pk, since in rows[:most]]

    def connection(self) -> BaseDatabaseWrapper:
        """Return the connection by which the project's routers write the model."""
        return connections[router.db_for_write(self._model)]

    def size(self, at_most: int) -> int:
        """Count the rows, up to ``at_most``."""
        return self._rows().values("pk")[:at_most].count()

    @property
    def _pk(self) -> models.Field[Any, Any]:
        pk: Any = self._model._meta.pk
        while pk.remote_field is not None:  # a parent link, or a OneToOneField as primary key
            pk = pk.target_field
        return pk  # type: ignore[no-any-return]  # a field of the model at the end of the line

    def _bound(self, older_than: datetime) -> datetime:
        return older_than if settings.USE_TZ else timezone.make_naive(older_than)

    def _part(self, after: str | None, limit: int) -> tuple[models.QuerySet[Any], Any]:
        """Return the next ``limit`` rows, and the key of the last; None where the end is among them."""
        part = self._rows() if after is None else self._rows().filter(pk__gt=self._pk.to_python(after))
        last = part.order_by("pk").values_list("pk", flat=True)[limit - 1 : limit].first()
        return (part if last is None else part.filter(pk__lte=last)), last

    def _text(self, pk: Any) -> str:
        return pk.isoformat() if isinstance(pk, datetime) else str(pk)

    def _rows(self) -> models.QuerySet[Any]:
        rows: models.QuerySet[Any] = self._model._base_manager.using(self.connection().alias)
        return rows.order_by()


def _aware(moment: datetime | None) -> datetime | None:
    return timezone.make_aware(moment) if moment is not None and timezone.is_naive(moment) else moment
