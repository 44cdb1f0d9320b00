"""Changes of an object's schedules in a turn: one is set by its name; those that the class declares are kept so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from durable_objects.alarms.declarations import Declaration
from durable_objects.alarms.run import Run
from durable_objects.alarms.schedules import ARMED, CANCELLED, ScheduledCall
from durable_objects.alarms.slot import Slot
from durable_objects.entries.serializer import encode
from durable_objects.errors import InvalidInput, InvalidSchedule
from durable_objects.recurrence.rules import TICK, Rule
from durable_objects.turns.handle import Key, shown

#: Schedules of one object: a turn that runs one reads them all.
MAX_SCHEDULES = 1_000

_NO_ARGUMENTS = encode([[], {}])


class _Turn(Protocol):
    """What is needed of a turn."""

    key: Key
    slot: Slot

    @property
    def now(self) -> datetime: ...
    @property
    def run(self) -> Run | None: ...
    def schedules(self) -> Mapping[str, ScheduledCall]: ...
    def change_schedule(self, name: str, call: ScheduledCall | None) -> None: ...


def put(turn: _Turn, wanted: ScheduledCall) -> ScheduledCall:
    """Store what is wanted as the schedule of its name, in the cadence of the one that is there; return it.

    One that is there already, just so, is left alone; but one that runs once, and is running, is set once more. Where
    only the policy for missed times changes, its runs keep their key. Raises ``InvalidSchedule`` when no time of it is
    left, and ``InvalidInput`` beyond ``MAX_SCHEDULES``.
    """
    calls = turn.schedules()
    there = calls.get(wanted.name)
    if there is not None and there.rule == wanted.rule and there.state == ARMED and not _runs_once_now(turn, there):
        call = replace(there, misfire=wanted.misfire, grace=wanted.grace, declared=wanted.declared)
        if (call.method, call.arguments) == (wanted.method, wanted.arguments):
            if call != there:
                turn.change_schedule(call.name, call)
            return call
        call = replace(call, method=wanted.method, arguments=wanted.arguments)
    else:
        if there is None and len(calls) >= MAX_SCHEDULES:
            raise InvalidInput(f"{shown(turn.key)} has {len(calls):,} schedules, the most that an object can have")
        call = _begun(turn, wanted)
    call = replace(call, set_number=turn.slot.next_set_number())
    turn.change_schedule(call.name, call)
    return call


def _runs_once_now(turn: _Turn, call: ScheduledCall) -> bool:
    """Return whether this schedule has one time only, and its run may be in progress: it has seen what was before."""
    if Rule.from_text(call.rule).kind != "once":
        return False
    is_own = turn.run is not None and turn.run.schedule is not None and turn.run.schedule.name == call.name
    return is_own or turn.slot.leased_until is not None


def _begun(turn: _Turn, wanted: ScheduledCall) -> ScheduledCall:
    rule = Rule.from_text(wanted.rule)
    first = rule.after(turn.now - TICK)
    if first is None and rule.kind == "once":
        first = turn.now  # a past time means now
    begun = wanted.at(first)
    if begun is None:
        raise InvalidSchedule(f"schedule {wanted.name!r} has no time left: {rule.describe()}")
    return begun


def cancel(turn: _Turn, name: str) -> bool:
    """Delete the schedule; return whether there was one. Of one that is declared it stays on record that it is."""
    call = turn.schedules().get(name)
    if call is None or call.state == CANCELLED:
        return False
    turn.change_schedule(name, call.cancelled())
    return True


def reconcile(turn: _Turn, declared: Sequence[Declaration]) -> None:
    """Make the object's declared schedules what its class declares. What was set or cancelled on the object stands."""
    calls = turn.schedules()
    of_this = {each.name: each for each in declared if each.of in {None, turn.key[1]}}
    for name, call in calls.items():
        if call.declared and name not in of_this:
            turn.change_schedule(name, None)
    for each in of_this.values():
        there = calls.get(each.name)
        if there is None or (there.declared and there.state != CANCELLED):
            wanted = ScheduledCall(
                each.name, each.method, _NO_ARGUMENTS, each.rule.to_text(), each.misfire, each.grace, 0, declared=True
            )
            if each.rule.after(turn.now - TICK) is not None:
                put(turn, wanted)
            elif there is not None and there.rule != wanted.rule:
                turn.change_schedule(each.name, None)  # its class has ended it
