"""Filters of the lists: each a condition that the database can answer without counting."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from durable_objects.admin.reading import now_of, object_classes
from durable_objects.admin.wording import OVERDUE_AFTER, class_name
from durable_objects.conf import engine
from durable_objects.rows import Alarm, Object


def _prefix(queryset: QuerySet[Any]) -> str:
    """Where the alarm's columns are, seen from the rows of this list."""
    return "" if queryset.model is Alarm else "alarm_row__"


class StateFilter(admin.SimpleListFilter):
    """By how the alarm stands."""

    title = "alarm"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("idle", "Idle"),
            ("armed", "Armed"),
            ("retrying", "Armed, retrying"),
            ("running", "Running, unlocked"),
            ("dead", "Dead"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        at = _prefix(queryset)
        conditions = {
            "idle": Q(**{f"{at}state": Alarm.State.IDLE}) | (Q(alarm_row=None) if at else Q()),
            "armed": Q(**{f"{at}state": Alarm.State.ARMED}),
            "retrying": Q(**{f"{at}state": Alarm.State.ARMED, f"{at}retry_count__gt": 0}),
            "running": Q(**{f"{at}leased_until__gt": now_of(request)}) if self.value() == "running" else Q(),
            "dead": Q(**{f"{at}state": Alarm.State.DEAD}),
        }
        return queryset.filter(conditions.get(self.value() or "", Q()))


class OverdueFilter(admin.SimpleListFilter):
    """Only alarms that should have run some time ago and are not running."""

    title = "overdue"
    parameter_name = "overdue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() != "yes":
            return queryset
        at, now = _prefix(queryset), now_of(request)
        free = Q(**{f"{at}leased_until": None}) | Q(**{f"{at}leased_until__lte": now})
        return queryset.filter(free, **{f"{at}state": Alarm.State.ARMED, f"{at}due_at__lte": now - OVERDUE_AFTER})


def _is_kind(kind: ContentType, rows: QuerySet[Object]) -> bool:
    model = kind.model_class()
    return rows.filter(kind=kind).exists() if model is None else model in object_classes()


class KindFilter(admin.SimpleListFilter):
    """By class: those that this code has, and those it has not but of which objects are there (parked)."""

    title = "class"
    parameter_name = "class"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        rows = Object.objects.using(engine.DATABASE)
        kinds = [kind for kind in ContentType.objects.all() if _is_kind(kind, rows)]
        return sorted([(str(kind.pk), class_name(kind)) for kind in kinds], key=lambda choice: choice[1].lower())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        if chosen is None or not chosen.isdecimal():
            return queryset
        column = "kind" if queryset.model is Object else "object__kind"
        return queryset.filter(**{column: int(chosen)})
