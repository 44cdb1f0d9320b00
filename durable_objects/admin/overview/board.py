"""What the panels of the overview share: the request, its now, and reads that several of them need, made once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

from django.contrib.admin import AdminSite
from django.contrib.admin import site as default_site
from django.core.cache import cache
from django.http import HttpRequest

from durable_objects import kinds
from durable_objects.admin.base import address_on
from durable_objects.admin.columns import now_of
from durable_objects.admin.display import absolute, relative
from durable_objects.admin.permissions import allows_all, kinds_shown_in_part, may_do_to
from durable_objects.alarms import predicates
from durable_objects.alarms.queries import SetAside, alarms_in
from durable_objects.conf import engine
from durable_objects.doctor import LATE_AFTER
from durable_objects.operations import bulk_verbs, explain, metrics, schedules, waiting
from durable_objects.operations.delivery_state import DeliveryState
from durable_objects.tables import Alarm

Read = TypeVar("Read")

#: What takes several reads is asked again after this time.
KEPT = timedelta(seconds=15)

#: States in the order of the tiles, with what a tile is called there.
TILES = {
    "overdue": "Overdue",
    "due": "Due now",
    "running": "Running",
    "retrying": "Retrying",
    "dead": "Dead",
    "hour": "Next hour",
    "day": "Next day",
    "parked": "Parked",
    "paused": "Paused",
    "limited": "Waiting for limits",
}


@dataclass(frozen=True)
class Panel:
    """A part of the page: its heading, its template, how often it is read again, and what it shows."""

    name: str
    title: str
    seconds: int
    read: Callable[[Board], dict[str, Any]]


class Board:
    """One look at everything, for one request."""

    def __init__(self, request: HttpRequest, site: AdminSite | None = None) -> None:
        self.request = request
        self.admin_site = site or _site_of(request)
        self.site = self.admin_site.name

    @cached_property
    def now(self) -> datetime:
        """The database's time, asked once."""
        return now_of(self.request)

    @cached_property
    def aside(self) -> SetAside:
        """What is not late, and what can be sent."""
        return SetAside.look(self.now)

    @cached_property
    def line(self) -> waiting.Line:
        """What is due and waits, by class."""
        return waiting.look(self.now, LATE_AFTER, self.aside)

    @cached_property
    def delivery(self) -> DeliveryState:
        """Who passes, who works, and what is out."""
        return DeliveryState(self.now, self.aside)

    @cached_property
    def causes(self) -> list[waiting.Cause]:
        """What keeps every class waiting."""
        return waiting.causes(self.delivery)

    @cached_property
    def why_late(self) -> dict[int, str]:
        """Why the oldest of each class that is late is, where nothing keeps all of them waiting."""
        late = sorted(each.kind_id for each in self.line.late)

        def read() -> dict[int, str]:
            oldest = metrics.oldest_of_each(self.now, late, self.aside)
            why = explain.why_late(oldest, self.delivery)
            return {each.kind_id: why[each.pk] for each in oldest}

        return kept(f"why_late:{'-'.join(map(str, late))}", KEPT, read)

    @cached_property
    def why_paused(self) -> dict[int | None, str]:
        """Since when classes, or everything, are paused, by whom and why."""
        return waiting.paused_because(self.now, self.aside)

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many alarms are in each state of ``TILES``, and what else the sentence is about. One statement."""
        rows: dict[str, Any] = {state: alarms_in(state, self.now, self.aside) for state in TILES}
        alarms = Alarm.objects.using(engine.DATABASE).order_by()
        rows["left_behind"] = alarms.filter(predicates.left_behind(self.now - engine.LEASE))
        rows["dead_schedules"] = schedules.schedules_in("dead", self.now).order_by()
        return metrics.count_each(rows)

    @cached_property
    def in_part(self) -> set[int]:
        """The classes of which this admin site shows the user some objects only."""
        return kinds_shown_in_part(self.admin_site, self.request)

    def url(self, name: str, *args: Any, **query: Any) -> str:
        """Return the address of a page of this admin site, with a query; "" where the site has no such page."""
        return address_on(self.site, name, *args, **query)

    def alarms(self, **query: Any) -> str:
        """Return the address of a list of alarms."""
        return self.url("durable_objects_alarm_changelist", **query)

    def operation(self, verb: str, selection: str, kind_id: int | None = None) -> str:
        """Return the address of the question whether to do this to everything that matches; empty where the user may
        not: to objects of that class, or of any.
        """
        if not self.may_do(verb, kind_id):
            return ""
        return self.url("durable_objects_operation_start", verb=verb, selection=selection)

    def may_do(self, verb: str, kind_id: int | None = None) -> bool:
        """Return whether the user may do this to all objects of that class, or of any."""
        found = bulk_verbs.get(verb)
        if kind_id is not None:
            return may_do_to(self.admin_site, self.request, found, kind_id)
        allowed = (allows_all(self.admin_site, self.request, found.permission, model) for model in kinds.classes())
        return any(allowed)

    def moment(self, at: datetime | None) -> dict[str, str]:
        """Return a past moment as a template shows it: from now, and in full. What came after now was read is now."""
        if at is None:
            return {}
        return {"iso": at.isoformat(), "text": relative(min(at, self.now), self.now), "title": absolute(at)}

    def may(self, permission: str) -> bool:
        """Return whether the user has a permission of the engine's."""
        return bool(self.request.user.has_perm(f"durable_objects.{permission}"))


def _site_of(request: HttpRequest) -> AdminSite:
    """Return the admin site whose own view answers the request: two may have the same name."""
    view = request.resolver_match.func if request.resolver_match is not None else None
    return getattr(view, "admin_site", default_site)


def kept(name: str, span: timedelta, read: Callable[[], Read]) -> Read:
    """Return what was read within the span before, else read it and keep it in Django's cache, if that can be used."""
    key = f"durable_objects:overview:{name}"
    with suppress(Exception):  # a cache that is away costs a read
        if (found := cache.get(key)) is not None:
            return found  # type: ignore[no-any-return]  # what was put there
    value = read()
    with suppress(Exception):
        cache.set(key, value, span.total_seconds())
    return value
