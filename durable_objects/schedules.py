"""An object's named schedules: which of its methods is called when. What users call as ``self.schedules``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

from durable_objects.alarms import schedule_sql
from durable_objects.alarms.backoff import AlarmInfo
from durable_objects.alarms.schedules import ScheduledCall
from durable_objects.alarms.times import check_alarm_time, moment
from durable_objects.database import clock
from durable_objects.entries.serializer import decode, encode
from durable_objects.errors import InvalidInput, InvalidSchedule
from durable_objects.plain_functions import kind_of
from durable_objects.recurrence import misfire as misfires
from durable_objects.recurrence import rules
from durable_objects.recurrence.rules import Rule
from durable_objects.tables import Schedule
from durable_objects.turns import lock, schedule_changes
from durable_objects.turns.async_calls import awaited
from durable_objects.turns.calls import change_in_turn, current
from durable_objects.turns.handle import Owner
from durable_objects.turns.turn import Turn
from durable_objects.validation import check_name

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """A schedule as it stood when it was read.

    ``state``: ``armed``; ``dead``, when its last occurrence used up its retries and none follows; ``cancelled``, when
    its class declares it. ``next_at``: the time of the occurrence that runs next, the same on its retries; ``due_at``
    is when it may begin. ``died_at``: the last occurrence whose retries were used up, and was not revived.
    """

    name: str
    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    rule: Rule
    misfire: str
    grace: timedelta | None
    declared: bool
    state: str
    next_at: datetime | None
    due_at: datetime | None
    retry_count: int
    last_error: str
    died_at: datetime | None

    def times(self, n: int) -> list[datetime]:
        """Return its next ``n`` times, fewer where it ends before, at most 1,000. In UTC.

        Raises ``InvalidSchedule`` where its rule cannot be read any more: its zone is gone, say.
        """
        if self.next_at is None:
            return []
        return [self.next_at, *islice(self.rule.following(self.next_at), min(n, misfires.MOST_PREVIEWED) - 1)][:n]


class Schedules:
    """Any number of schedules of one object, up to 1,000, each with a name of its own.

    Each calls one of the object's own methods, in a turn, one run at a time with its alarm and its calls: at least
    once, never early, retried as ``alarm()`` is, by the class's ``alarm_max_retries`` and ``alarm_time_limit``. An
    occurrence that fails for good is kept as dead, and the next one runs. Set and cancelled all or nothing with the
    writes of the turn. Gone with the object, not with ``storage.delete_all()``.
    """

    __slots__ = ("_owner",)

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def set(
        self,
        name: str,
        method: str | Callable[..., Any],
        *,
        at: datetime | None = None,
        after: timedelta | None = None,
        every: timedelta | None = None,
        cron: str | None = None,
        rrule: str | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        zone: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        misfire: str = "one",
        grace: timedelta | None = None,
    ) -> ScheduleInfo:
        """Call the method at these times; return the schedule. One of ``at`` … ``rrule`` says when.

        ``at``: once, a past time means now; ``after``: once, this long from the database's now. ``every``: at fixed
        steps from ``start``, or from 1970, at least 1 s. ``cron``: five fields; ``rrule``: as RFC 5545 has it: both on
        the wall clock of ``zone`` (UTC if None), where a time that the clock skips is shifted forward and one that
        comes twice is the first. ``start`` and ``end`` bound them, both included.

        ``misfire`` says what becomes of times that were missed: ``"one"`` run for all of them, ``"skip"``: none,
        ``"all"``: one each, the newest 100. Later than ``grace`` none runs. What is skipped is in the history.

        The same name again replaces the schedule. Where its times are the same, they go on as they were: set it as
        often as you like. ``args`` and ``kwargs`` are values as storage takes them.

        Raises ``InvalidSchedule`` for times that never come or cannot be, ``InvalidName``, ``InvalidValue`` and
        ``InvalidInput``; nothing is changed then.
        """
        check_name(name)
        called, arguments = self._call(method, args, {} if kwargs is None else kwargs)
        misfires.check(misfire, grace)
        if after is not None and not isinstance(after, timedelta):
            raise InvalidSchedule(f"after is {after!r}; allowed: a timedelta from now")
        for when in (at, after):
            if when is not None:
                check_alarm_time(when)
        if at is not None and after is not None:
            raise InvalidSchedule("a schedule takes one of at, after, every, cron and rrule; at and after were given")

        def put(turn: Turn) -> ScheduleInfo:
            once = at if after is None else moment(after, turn.now)
            rule = rules.make(
                at=once, every=every, cron=cron, rrule=rrule, zone=zone, start=start, end=end, now=turn.now
            )
            wanted = ScheduledCall(name, called, arguments, rule.to_text(), misfire, grace, set_number=0)
            return info_of(schedule_changes.put(turn, wanted))

        return self._in_turn(put)

    def cancel(self, name: str) -> bool:
        """Delete the schedule; return whether there was one. A run of it in progress goes on.

        One that the class declares stays cancelled on this object, until it is set.
        """
        return self._in_turn(lambda turn: schedule_changes.cancel(turn, name))

    def get(self, name: str) -> ScheduleInfo | None:
        """Return the schedule of this name, or None."""
        call = self._read().get(name)
        return None if call is None else info_of(call)

    def list(self) -> list[ScheduleInfo]:
        """Return all schedules of the object, by name."""
        return [info_of(call) for call in self._read().values()]

    def preview(self, name: str, n: int, *, down: tuple[datetime, datetime] | None = None) -> misfires.Preview:
        """Return the next ``n`` times of the schedule of this name; and, were nothing to run from the one moment of
        ``down`` to the other, what its misfire policy would do of what is missed then, in words too.

        Raises ``InvalidSchedule`` where there is none of this name.
        """
        call = self._read().get(name)
        if call is None:
            raise InvalidSchedule(f"there is no schedule {name!r} to preview")
        return misfires.preview(Rule.from_text(call.rule), call.misfire, call.grace, clock.now(), n, down=down)

    # -- for async code, as Django has it: the same promises, awaited

    aset = awaited(set)
    acancel = awaited(cancel)
    aget = awaited(get)
    alist = awaited(list)
    apreview = awaited(preview)

    @property
    def info(self) -> AlarmInfo | None:
        """What ``alarm()`` gets as an argument, for a method that a schedule calls: None outside of a run."""
        turn = current(self._owner)
        return turn.run.info if turn is not None and turn.run is not None else None

    def _call(self, method: str | Callable[..., Any], args: Any, kwargs: Any) -> tuple[str, str]:
        """Return the method's name and its arguments as text. The method must be the class's own and take these."""
        cls = type(self._owner)
        name = method if isinstance(method, str) else str(getattr(method, "__name__", method))
        found = inspect.getattr_static(cls, name, None)
        if not callable(found) or name.startswith("__") or not any(name in vars(base) for base in _own_classes(cls)):
            raise InvalidSchedule(f"{cls.__name__} has no method {name!r} of its own: a schedule calls one by its name")
        if kind := kind_of(found):
            raise InvalidSchedule(f"{cls.__name__}.{name} is a {kind}, whose body would never run: make it a plain def")
        if not isinstance(args, list | tuple):
            raise InvalidInput(f"args is {args!r}; allowed: a list or a tuple of values")
        if not isinstance(kwargs, Mapping) or not all(isinstance(key, str) for key in kwargs):
            raise InvalidInput(f"kwargs is {kwargs!r}; allowed: a dict of names to values")
        try:
            inspect.signature(found).bind(self._owner, *args, **kwargs)
        except TypeError as error:
            raise InvalidSchedule(f"{cls.__name__}.{name}() would be called with wrong arguments: {error}") from None
        return name, encode([[*args], {**kwargs}])

    def _in_turn(self, change: Callable[[Turn], Result]) -> Result:
        return change_in_turn(self._owner, change)

    def _read(self) -> dict[str, ScheduledCall]:
        turn = current(self._owner)
        if turn is not None:
            return turn.schedules()
        object_id = lock.find(clock.connection(), self._owner.kind_pk(), self._owner.name)
        return {} if object_id is None else schedule_sql.load(clock.connection(), object_id)


def _own_classes(cls: type) -> list[type]:
    """Return the class and those that it inherits from, but for the engine's and Django's."""
    return [base for base in cls.__mro__ if not base.__module__.startswith(("durable_objects.", "django."))]


def info_of(call: ScheduledCall | Schedule) -> ScheduleInfo:
    """Return what is shown of a schedule, as it is in a turn or in the table."""
    args, kwargs = decode(call.arguments)
    return ScheduleInfo(
        call.name, call.method, tuple(args), kwargs, Rule.from_text(call.rule), call.misfire, call.grace, call.declared,
        call.state, call.scheduled_at, call.due_at, call.retry_count, call.last_error, call.died_at,
    )  # fmt: skip
