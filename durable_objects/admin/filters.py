"""Filters of the lists: each is a condition that an index answers, without counting."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from durable_objects import kinds
from durable_objects.admin.base import key_of
from durable_objects.admin.columns import errors_of, now_of
from durable_objects.admin.display import class_name, label, short
from durable_objects.admin.permissions import shown
from durable_objects.alarms.queries import STATES
from durable_objects.conf import engine
from durable_objects.tables import Alarm, Object


def named(beginning: str, model: type[Model], at: str = "") -> Q:
    """Return the condition of rows whose object, with its columns ``at``, is of this class or a subclass of it, and
    has a name that begins so. Its class is named because names are indexed within it.
    """
    return Q(**{f"{at}kind__in": kinds.of_class(model), f"{at}name__startswith": beginning})


class SelectionFilter(admin.SimpleListFilter):
    """A filter of a list that is ``SearchedBySelection``: what it says is a qualifier there, and done there."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return all rows."""
        return queryset


class StateFilter(SelectionFilter):
    """By the alarm's state; where the list has a default state, "All" asks for all."""

    title = "alarm"
    parameter_name = "state"

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self._by_default = model_admin.default_of(request)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        # Objects without an alarm are what no index finds; `manage.py objects list` can take its time over it.
        idle: set[str] = set() if model_admin.model is Alarm else {"idle"}
        return [(state, title) for state, title in STATES.items() if state not in idle]

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the choices, the default state chosen where none is asked for."""
        every, *states = super().choices(changelist)
        if self._by_default:
            every["query_string"] = changelist.get_query_string({"state": "all"})
            every["selected"] = self.value() == "all"
            for choice, (state, _) in zip(states, self.lookup_choices, strict=True):
                choice["selected"] = (self.value() or self._by_default) == state
        yield every
        yield from states


class KindFilter(SelectionFilter):
    """By class: those that this code has, and those that it lacks but that have objects (parked)."""

    title = "class"
    parameter_name = "class"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        known = [kind for kind in kinds.content_types().all() if kinds.class_of(kind) is not None]
        shown = [*known, *kinds.unknown()]
        return sorted([(str(kind.pk), class_name(kind)) for kind in shown], key=lambda choice: choice[1].lower())


class ErrorFilter(SelectionFilter):
    """By error: those of which the most alarms died, and the one that a link asks for."""

    title = parameter_name = "error"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        asked, found = self.value(), errors_of(request, model_admin)
        others = [] if not asked or asked in found else [(asked, short(label(asked)))]
        return [*found.items(), *others]


class EndedFilter(admin.SimpleListFilter):
    """Runs by when they ended."""

    title = parameter_name = "ended"

    _SPANS: ClassVar[dict[str, tuple[str, timedelta]]] = {
        "hour": ("In the last hour", timedelta(hours=1)),
        "day": ("In the last 24 hours", timedelta(days=1)),
        "week": ("In the last 7 days", timedelta(days=7)),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, title) for name, (title, _) in self._SPANS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        _, span = self._SPANS.get(self.value() or "", ("", None))
        return queryset if span is None else queryset.filter(ended_at__gte=now_of(request) - span)


class ObjectFilter(admin.SimpleListFilter):
    """By the object that rows belong to. A link on the object's page asks for it; only then the filter is shown."""

    title = parameter_name = "object"
    #: The foreign key to the object.
    column = "object"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        asked = self.value()
        if asked is None:
            return []
        key = key_of(Object, asked)
        rows = shown(model_admin.admin_site, request, Object.objects.using(engine.DATABASE))
        row = rows.filter(pk=key).first() if key is not None else None
        return [(asked, short(label(row.name)) if row else "no object with this id")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        asked = self.value()
        if asked is None:
            return queryset
        key = key_of(Object, asked)
        return queryset.none() if key is None else queryset.filter(**{self.column: key})
