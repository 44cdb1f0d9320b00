"""Conditions that alerts may be made of: the engine's own, and those that apps bring in a module ``conditions``::

    # shop/conditions.py
    from durable_objects.conditions import Found, condition

    @condition("shop.unpaid", "Carts are unpaid", at_least=100)
    def unpaid(now: datetime, limits: Limits) -> Found | None:
        number = Cart.unpaid().count()
        return Found(f"{number} carts are unpaid.") if number >= limits.at_least else None

They are only asked here. What is reported to whom, and when, is decided by who asks: ``reminders.alerts``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.utils.module_loading import autodiscover_modules

from durable_objects import doctor, kinds
from durable_objects.alarms.queries import COUNTED_TO, alarms_in, count
from durable_objects.conf import engine
from durable_objects.delivery import processes
from durable_objects.errors import InvalidInput
from durable_objects.formatting import class_name, gist, span
from durable_objects.operations import metrics
from durable_objects.operations import processes as standing
from durable_objects.operations.recent_errors import recent_errors
from durable_objects.tables import AlarmRun

#: The newest runs that are looked at.
NEWEST = 1_000

__all__ = ["COUNTED_TO", "Condition", "Found", "Limits", "ask", "condition", "conditions", "find", "title_of"]


@dataclass(frozen=True)
class Limits:
    """From where on a condition holds, as far as it has such limits: a number, a span, the one class (its content
    type's key; None: all of them).
    """

    at_least: int = 1
    span: timedelta = timedelta(0)
    kind_id: int | None = None


@dataclass(frozen=True)
class Found:
    """That a condition holds: ``text`` says it with its figures, in one sentence or a few. ``subjects`` is what it is
    about, by a key that stays the same: one that comes in while the condition holds is news.
    """

    text: str
    subjects: Mapping[str, str] = field(default_factory=dict)


Ask = Callable[[datetime, Limits], Found | None]
"""Takes the database's now; returns None while the condition does not hold. It is asked often: an indexed read."""


@dataclass(frozen=True)
class Condition:
    """``at_least`` and ``span`` are what holds for a rule that does not say otherwise; None: it has no such limit."""

    name: str
    title: str
    ask: Ask
    at_least: int | None = None
    span: timedelta | None = None
    by_class: bool = False


_conditions: dict[str, Condition] = {}


def condition(
    name: str, title: str, *, at_least: int | None = None, span: timedelta | None = None, by_class: bool = False
) -> Callable[[Ask], Ask]:
    """Register a function as the condition of this name, in place of an earlier one."""

    def add(ask: Ask) -> Ask:
        _conditions[name] = Condition(name, title, ask, at_least, span, by_class)
        return ask

    return add


def conditions() -> list[Condition]:
    """Return all of them: the engine's first, then those of installed apps' modules ``conditions``."""
    _import_those_of_apps()
    return list(_conditions.values())


@cache
def _import_those_of_apps() -> None:
    autodiscover_modules("conditions")


def find(name: str) -> Condition:
    """Return the condition of this name. Raises ``InvalidInput``, which lists those that there are."""
    known = {each.name: each for each in conditions()}
    if name not in known:
        raise InvalidInput(f"no condition {name!r} is registered here; known: {', '.join(known)}")
    return known[name]


def title_of(name: str) -> str:
    """Return what a condition is called for people; its name where it is not known here."""
    return next((each.title for each in conditions() if each.name == name), name)


def ask(
    name: str, now: datetime, *, at_least: int | None = None, span: timedelta | None = None, object_class: str = ""
) -> Found | None:
    """Ask the condition of this name with these limits, else its own. Raises ``InvalidInput`` for one that is not known
    or has no such limit, and what the condition raises.
    """
    asked = find(name)
    for limit, given, has in (
        ("at_least", at_least is not None, asked.at_least is not None),
        ("span", span is not None, asked.span is not None),
        ("object_class", bool(object_class), asked.by_class),
    ):
        if given and not has:
            raise InvalidInput(f"the condition {name!r} has no {limit}: leave it empty")
    limits = Limits(
        (1 if asked.at_least is None else asked.at_least) if at_least is None else at_least,
        (asked.span or timedelta(0)) if span is None else span,
        _kind_id(object_class) if object_class else None,
    )
    return asked.ask(now, limits)


def _kind_id(object_class: str) -> int:
    kind = kinds.find(object_class)
    if kind is None:
        raise InvalidInput(f"no class of objects {object_class!r}: {kinds.hint(object_class)}")
    return kind.pk


@condition("late", "Alarms are late", span=timedelta(minutes=2), by_class=True)
def _late(now: datetime, limits: Limits) -> Found | None:
    """Judge the oldest alarm that is due and neither runs nor waits for a pause or a limit."""
    oldest = metrics.oldest_overdue(now, limits.kind_id)
    age = now - oldest.wake_at if oldest is not None and oldest.wake_at is not None else timedelta(0)
    if oldest is None or age < max(limits.span, timedelta(seconds=1)):
        return None
    of = f" of {class_name(oldest.object.kind)}" if limits.kind_id else ""
    cause = doctor.late(now).cause if not limits.kind_id else None
    return Found(cause or f"An alarm{of} is late by {span(age)}.")


@condition("dead", "Alarms are dead", at_least=1, by_class=True)
def _dead(now: datetime, limits: Limits) -> Found | None:
    rows = alarms_in("dead", now)
    rows = rows if limits.kind_id is None else rows.filter(kind_id=limits.kind_id)
    number = count(rows)
    if number < limits.at_least:
        return None
    newest = rows.order_by("-pk").first()
    says = f" The newest says: {gist(newest.last_error)}" if newest and newest.last_error else ""
    return Found(f"Dead alarms: {metrics.counted(number)}.{says}")


@condition("dying", "Alarms die, more than usual within a time", at_least=10, span=timedelta(minutes=15), by_class=True)
def _dying(now: datetime, limits: Limits) -> Found | None:
    """Judge the newest runs that were an alarm's last."""
    rows = AlarmRun.objects.using(engine.DATABASE).filter(outcome=AlarmRun.Outcome.DEAD).order_by("-id")
    newest = rows.values_list("ended_at", "object__kind_id", "error")[: max(limits.at_least, NEWEST)]
    died = [error for at, kind_id, error in newest if at > now - limits.span and limits.kind_id in {None, kind_id}]
    if not died or len(died) < limits.at_least:
        return None
    many = metrics.counted(len(died), max(limits.at_least, NEWEST))
    return Found(f"Alarms that died in the last {span(limits.span)}: {many}. The newest says: {gist(died[0])}")


@condition("frequent_error", "One error comes often", at_least=50, span=timedelta(minutes=15), by_class=True)
def _frequent_error(now: datetime, limits: Limits) -> Found | None:
    """Judge each group of errors of the runs that failed lately, retried or not."""
    groups = [each for each in recent_errors(now, limits.span) if limits.kind_id in {None, each.kind_id}]
    often = {each.key: f"{each} ({each.number:,} times)" for each in groups if each.number >= limits.at_least}
    return Found(f"Errors that came often in the last {span(limits.span)}.", often) if often else None


@condition("parked", "Alarms are parked: this code does not have their class", at_least=1)
def _parked(now: datetime, limits: Limits) -> Found | None:
    found = {str(kind.pk): (class_name(kind), count(_of_kind(now, kind.pk))) for kind in kinds.unknown()}
    parked = {key: f"{metrics.counted(number)} of {name}" for key, (name, number) in found.items() if number}
    if sum(number for _, number in found.values()) < limits.at_least or not parked:
        return None
    return Found("Alarms of classes that this code does not have.", parked)


def _of_kind(now: datetime, kind_id: int) -> Any:
    return alarms_in("armed", now).filter(kind_id=kind_id)


@condition("dispatcher", "No dispatcher makes passes, or the broker refuses its wake-ups")
def _dispatcher(now: datetime, limits: Limits) -> Found | None:
    trouble = processes.trouble(now)
    return Found(trouble) if trouble is not None else None


@condition("workers", "Fewer workers live than there should be", at_least=1)
def _workers(now: datetime, limits: Limits) -> Found | None:
    """Count the workers whose heartbeat is fresh, whether they ended, were killed or hang."""
    workers = standing.workers(now)
    if workers.number >= limits.at_least:
        return None
    last = f" The last of the others was seen {span(workers.silent_for)} ago." if workers.silent_for is not None else ""
    return Found(f"Workers that live: {workers.number}, of at least {limits.at_least}.{last}")
