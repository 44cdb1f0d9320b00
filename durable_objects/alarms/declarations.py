"""Schedules that a class declares on its methods: ``@every(hours=1)``, ``@cron("0 3 * * *")``. Pure."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from durable_objects.errors import InvalidSchedule
from durable_objects.plain_functions import kind_of
from durable_objects.recurrence import misfire as misfires
from durable_objects.recurrence import rules
from durable_objects.recurrence.rules import EPOCH, Rule
from durable_objects.validation import check_name

Method = TypeVar("Method", bound=Callable[..., Any])

#: The attribute of a method that has its declarations.
_ATTRIBUTE = "durable_schedules"


@dataclass(frozen=True, slots=True)
class Declaration:
    """A schedule that a class declares; ``of`` is the name of the one object that has it, None: every object."""

    name: str
    method: str
    rule: Rule
    misfire: str
    grace: timedelta | None
    of: str | None


def every(
    *,
    days: float = 0,
    hours: float = 0,
    minutes: float = 0,
    seconds: float = 0,
    start: datetime | None = None,
    end: datetime | None = None,
    of: str | None = None,
    name: str | None = None,
    misfire: str = "one",
    grace: timedelta | None = None,
) -> Callable[[Method], Method]:
    """Call the method at fixed steps, counted from ``start`` or from 1970: on every object, or on the one named ``of``.

    As ``schedules.set(name, method, every=…)``, without arguments; the name is the method's unless given. An object has
    it from its first turn on, objects that are there from the next ``migrate`` on; the one named by ``of`` is made by
    it. A change takes effect by ``migrate``. After ``end`` nobody gets it. Raises ``InvalidSchedule`` and
    ``InvalidName`` at import.
    """
    try:
        interval = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    except (ValueError, OverflowError, TypeError) as error:
        raise InvalidSchedule(f"every() takes numbers of days, hours, minutes and seconds: {error}") from None
    rule = rules.make(every=interval, start=start, end=end, now=EPOCH)  # an ``end`` that has come stops no import
    return _declaring(rule, name, misfire, grace, of)


def cron(
    expression: str,
    *,
    zone: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    of: str | None = None,
    name: str | None = None,
    misfire: str = "one",
    grace: timedelta | None = None,
) -> Callable[[Method], Method]:
    """Call the method at the times of a cron expression of five fields, on the wall clock of ``zone`` (UTC if None).

    Everything else is as in ``every``.
    """
    rule = rules.make(cron=expression, zone=zone, start=start, end=end, now=EPOCH)
    return _declaring(rule, name, misfire, grace, of)


def _declaring(
    rule: Rule, name: str | None, misfire: str, grace: timedelta | None, of: str | None
) -> Callable[[Method], Method]:
    misfires.check(misfire, grace)
    for given in (name, of):
        if given is not None:
            check_name(given)

    def declare(method: Method) -> Method:
        if kind := kind_of(method):
            raise TypeError(f"a schedule on {method.__qualname__}, which is an {kind}: make it a plain def")
        try:
            inspect.signature(method).bind(object())
        except TypeError as error:
            called = f"{method.__qualname__}() would be called without arguments: {error}"
            raise InvalidSchedule(called) from None
        declared = Declaration(name or "", "", rule, misfire, grace, of)
        setattr(method, _ATTRIBUTE, (*getattr(method, _ATTRIBUTE, ()), declared))
        return method

    return declare


@functools.cache
def declarations_of(cls: type) -> tuple[Declaration, ...]:
    """Return what the class declares, its own and inherited. Raises ``InvalidSchedule`` for two of one name."""
    found: list[Declaration] = []
    for attribute in dir(cls):
        of_method = getattr(inspect.getattr_static(cls, attribute, None), _ATTRIBUTE, ())
        found += [replace(each, name=each.name or attribute, method=attribute) for each in of_method]
    names = [(each.name, each.of) for each in found]
    if doubled := {name for name, _ in names if sum(other == name for other, _ in names) > 1 and _overlap(found, name)}:
        raise InvalidSchedule(f"{cls.__name__} declares two schedules of one name: {', '.join(sorted(doubled))}")
    return tuple(found)


def _overlap(found: list[Declaration], name: str) -> bool:
    of = [each.of for each in found if each.name == name]
    return None in of or len({*of}) < len(of)
