"""What is paused: everything, the objects of a class, or one object. Only this module writes those rows.

A pause holds for runs only. Each run reads it after it has locked its object (``sql.look``), so that none that begins
after ``put`` has committed can miss it. Whether one that began before still goes on: ``operations.pauses``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from durable_objects.conf import engine
from durable_objects.tables import Pause


class Target(NamedTuple):
    """What is paused or resumed: an object, a class by its content type, or with neither everything."""

    kind_id: int | None = None
    object_id: int | None = None

    @property
    def scope(self) -> str:
        """The ``Pause.Scope`` of it."""
        if self.object_id is not None:
            return Pause.Scope.OBJECT.value
        return Pause.Scope.EVERYTHING.value if self.kind_id is None else Pause.Scope.CLASS.value

    @property
    def row(self) -> dict[str, Any]:
        """The columns by which its pause is found."""
        kind_id = self.kind_id if self.object_id is None else None
        return {"scope": self.scope, "kind_id": kind_id, "object_id": self.object_id}


@dataclass(frozen=True, slots=True)
class Paused:
    """What was paused at ``now``: everything, these classes, these objects; ``wide``: the pauses of more than one."""

    now: datetime
    everything: bool = False
    kinds: frozenset[int] = frozenset()
    objects: frozenset[int] = frozenset()
    wide: tuple[Pause, ...] = ()

    @property
    def is_any(self) -> bool:
        """Whether anything is."""
        return self.everything or bool(self.kinds) or bool(self.objects)

    def holds(self, object_id: int, kind_id: int) -> bool:
        """Return whether this object is paused, by itself or with others."""
        return self.everything or kind_id in self.kinds or object_id in self.objects

    def condition(self, key: str = "pk") -> Q:
        """Return ``holds`` as a condition on rows that have their kind, and the object's key in this column: alarms and
        objects have it as their own.
        """
        if self.everything:
            return Q(pk__isnull=False)
        found = Q(pk__in=[])
        if self.kinds:
            found |= Q(kind__in=self.kinds)
        if self.objects:  # by a subquery: a list has a bound on some databases
            of_objects = in_force(self.now).filter(scope=Pause.Scope.OBJECT).values("object_id")
            found |= Q(**{f"{key}__in": of_objects})
        return found


def put(target: Target, now: datetime, *, reason: str, by: str, until: datetime | None) -> None:
    """Pause this from the commit on. A pause of it that stands is replaced."""
    rows = Pause.objects.using(engine.DATABASE)
    rows.update_or_create(**target.row, defaults={"reason": reason, "by": by, "since": now, "until": until})


def lift(target: Target, now: datetime, *, stood_at: datetime | None = None) -> bool:
    """End the pause of this, or only one made by ``stood_at``; return whether it stood. Pauses that ended by themselves
    are forgotten with it.
    """
    made = Q() if stood_at is None else Q(since__lte=stood_at)
    with transaction.atomic(using=engine.DATABASE):
        lifted, _ = in_force(now).filter(made, **target.row).delete()
        forget_ended(now)
    return lifted > 0


def forget_ended(now: datetime) -> None:
    """Delete pauses whose time is over: they hold nothing any more."""
    Pause.objects.using(engine.DATABASE).filter(until__lte=now).delete()


def move(kind_id: int, to: int, now: datetime) -> None:
    """Let what its class pauses stay paused under another content type. A pause that stands there is kept."""
    forget_ended(now)
    rows = Pause.objects.using(engine.DATABASE)
    if not rows.filter(kind=to).exists():
        rows.filter(kind=kind_id).update(kind=to)


def in_force(now: datetime) -> QuerySet[Pause]:
    """Return the pauses that stand, unordered."""
    return Pause.objects.using(engine.DATABASE).filter(Q(until=None) | Q(until__gt=now))


def none_of_its_own(now: datetime) -> Q:
    """Return the condition of alarms whose object is not paused by itself, whatever its class is."""
    return ~Q(Exists(in_force(now).filter(object=OuterRef("pk"))))


def not_paused(now: datetime) -> Q:
    """Return the condition of content types whose class is not paused, and nor is everything."""
    wide = Q(scope=Pause.Scope.EVERYTHING) | Q(kind=OuterRef("pk"))
    return ~Q(Exists(in_force(now).filter(wide)))


def of_object(object_id: int, kind_id: int, now: datetime) -> list[Pause]:
    """Return the pauses that hold this object, the widest first."""
    its = Q(scope=Pause.Scope.EVERYTHING) | Q(kind=kind_id) | Q(object=object_id)
    return sorted(in_force(now).filter(its), key=lambda pause: Pause.Scope.values.index(pause.scope))


def paused(now: datetime) -> Paused:
    """Return what is paused. One small query."""
    found = list(in_force(now))
    wide = tuple(pause for pause in found if pause.object_id is None)
    kinds = frozenset(pause.kind_id for pause in wide if pause.kind_id is not None)
    objects = frozenset(pause.object_id for pause in found if pause.object_id is not None)
    return Paused(now, any(pause.kind_id is None for pause in wide), kinds, objects, wide)
