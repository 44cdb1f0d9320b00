"""The schedules of an object as a dump has them, and back: all columns but the number, which the object gives each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from durable_objects.alarms import schedule_sql
from durable_objects.alarms.schedules import ARMED, CANCELLED, DEAD, ScheduledCall
from durable_objects.database import clock
from durable_objects.entries import serializer
from durable_objects.errors import AlarmHandlerMissing, InvalidInput
from durable_objects.models import DurableObject
from durable_objects.recurrence import misfire
from durable_objects.recurrence.rules import Rule
from durable_objects.turns.turn import Turn
from durable_objects.validation import check_name

_TIMES = ("scheduled_at", "due_at", "follow_at", "died_at")
_AS_THEY_ARE = ("name", "method", "misfire", "declared", "state", "is_decided", "retry_count", "last_error")


def read(object_id: int) -> list[dict[str, Any]]:
    """Return the object's schedules by name, as values for JSON."""
    return [_dumped(call) for call in schedule_sql.load(clock.connection(), object_id).values()]


def store(turn: Turn, handle: DurableObject, dumped: Any, *, arm: bool) -> bool:
    """Make the object's schedules these; without ``arm`` only those that will not run. Return whether one was armed.

    Raises ``InvalidInput`` for what cannot be read, ``AlarmHandlerMissing`` for a method that the class does not have.
    """
    for name in [*turn.schedules()]:
        turn.change_schedule(name, None)
    calls = [_call_of(each, handle) for each in dumped or []]
    for call in calls:
        if arm or call.state != ARMED:
            turn.change_schedule(call.name, replace(call, set_number=turn.slot.next_set_number()))
    return any(call.state == ARMED for call in calls)


def moment_of(text: str | None) -> datetime | None:
    """Return an ISO 8601 time with an offset from UTC. Raises ``InvalidInput`` for any other text."""
    try:
        moment = None if text is None else datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{text!r} is not an ISO 8601 time: {error}") from error
    if moment is not None and moment.utcoffset() is None:
        raise InvalidInput(f"{text!r} has no offset from UTC")
    return moment


def _dumped(call: ScheduledCall) -> dict[str, Any]:
    times = {name: moment and moment.isoformat() for name in _TIMES for moment in [getattr(call, name)]}
    return {
        **{name: getattr(call, name) for name in _AS_THEY_ARE},
        **times,
        "arguments": json.loads(call.arguments),
        "rule": json.loads(call.rule),
        "grace": None if call.grace is None else call.grace.total_seconds(),
    }


def _call_of(dumped: Any, handle: DurableObject) -> ScheduledCall:
    try:
        grace = None if dumped["grace"] is None else timedelta(seconds=dumped["grace"])
        args, kwargs = serializer.decode(json.dumps(dumped["arguments"]))
        values: dict[str, Any] = {name: _TYPES[name](dumped[name]) for name in _AS_THEY_ARE}
        call = ScheduledCall(
            **values | {name: moment_of(dumped[name]) for name in _TIMES},
            arguments=serializer.encode([[*args], {**kwargs}]),
            rule=Rule.from_text(json.dumps(dumped["rule"])).to_text(),
            grace=grace,
            set_number=0,
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"a schedule cannot be {dumped!r}: {error}") from error
    misfire.check(call.misfire, call.grace)
    if not callable(getattr(type(handle), call.method, None)):
        raise AlarmHandlerMissing(
            f"{handle.key[0]} has no method {call.method!r}, which the schedule {call.name!r} calls"
        )
    return call


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _state(value: Any) -> str:
    if value not in {ARMED, DEAD, CANCELLED}:
        raise ValueError(f"{value!r} is no state of a schedule")
    return str(value)


_TYPES: dict[str, Callable[[Any], Any]] = {
    "name": check_name,
    "method": _text,
    "misfire": _text,
    "declared": _flag,
    "state": _state,
    "is_decided": _flag,
    "retry_count": int,
    "last_error": _text,
}
