"""Filters of the lists: each is a condition that an index answers, without counting."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from durable_objects import kinds
from durable_objects.admin.base import BoundedPaginator, key_of
from durable_objects.admin.columns import now_of
from durable_objects.admin.display import class_name, label, short
from durable_objects.alarms.queries import STATES, condition
from durable_objects.conf import engine
from durable_objects.tables import Alarm, Object


class StateFilter(admin.SimpleListFilter):
    """By the alarm's state."""

    title = "alarm"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        # Objects without an alarm are what no index finds; `manage.py objects list` can take its time over it.
        idle: set[str] = set() if model_admin.model is Alarm else {"idle"}
        return [(state, title) for state, title in STATES.items() if state not in idle]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        state, now = self.value(), now_of(request)
        if state not in STATES or (state == "idle" and queryset.model is not Alarm):
            return queryset
        if queryset.model is Alarm:
            return queryset.filter(condition(state, now))
        # Objects by their alarms, as many as a list shows: a join in the order of the list might read all of them.
        alarms = Alarm.objects.using(engine.DATABASE).filter(condition(state, now), *_of_class(request, queryset))
        first = alarms.order_by(*[] if state in {"dead", "running"} else ["wake_at"]).values_list("pk", flat=True)
        return queryset.filter(pk__in=list(first[: BoundedPaginator.LIMIT]))


def _of_class(request: HttpRequest, queryset: QuerySet[Any]) -> list[Q]:
    """Return a condition on alarms for the class of the list, or for the one that was chosen."""
    if queryset.model is not Object:
        return [Q(object__kind=queryset.model.kind_pk())]
    chosen = key_of(ContentType, request.GET.get(KindFilter.parameter_name, ""))
    return [Q(object__kind=chosen)] if chosen is not None else []


class KindFilter(admin.SimpleListFilter):
    """By class: those that this code has, and those that it lacks but that have objects (parked)."""

    title = "class"
    parameter_name = "class"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        known = [kind for kind in kinds.content_types().all() if kinds.class_of(kind) is not None]
        shown = [*known, *kinds.unknown()]
        return sorted([(str(kind.pk), class_name(kind)) for kind in shown], key=lambda choice: choice[1].lower())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = key_of(ContentType, self.value() or "")
        if chosen is None:
            return queryset
        column = "kind" if queryset.model is Object else "object__kind"
        return queryset.filter(**{column: chosen})


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
        row = Object.objects.using(engine.DATABASE).filter(pk=key).first() if key is not None else None
        return [(asked, short(label(row.name)) if row else "no object with this id")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        asked = self.value()
        if asked is None:
            return queryset
        key = key_of(Object, asked)
        return queryset.none() if key is None else queryset.filter(**{self.column: key})
