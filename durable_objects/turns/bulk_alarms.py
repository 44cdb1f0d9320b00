"""Setting the alarms of many objects of one class at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from durable_objects import class_attributes
from durable_objects.alarms.times import check_alarm_time, moment
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.database.errors import is_worth_another_try
from durable_objects.errors import ObjectBusy
from durable_objects.turns import calls, lock
from durable_objects.turns.bulk import Together
from durable_objects.turns.handle import Owner, check_has_handler

#: Objects per transaction.
MOST_TOGETHER = 1_000

When = datetime | timedelta


def set_alarms(by_name: Callable[[str], Owner], times: Mapping[str, When]) -> None:
    """Set the alarm of each object; see ``ObjectManager.set_alarms``. ``by_name`` makes the handles."""
    wanted = {name: (by_name(name), when) for name, when in sorted(times.items())}
    now = clock.now()
    for handle, when in wanted.values():
        class_attributes.refuse_flaw(type(handle))
        check_has_handler(handle)
        check_alarm_time(when)
        moment(when, now)
    names = list(wanted)
    for start in range(0, len(names), MOST_TOGETHER):
        _set({name: wanted[name] for name in names[start : start + MOST_TOGETHER]})


def _set(wanted: Mapping[str, tuple[Owner, When]]) -> None:
    """One transaction, made again when the database makes it give way."""
    handle = next(iter(wanted.values()))[0]
    kind_id = handle.kind_pk()  # may ask the database, which must not be the first in the transaction
    for tries_left in reversed(range(calls.TRIES)):
        limits = lock.Limits(engine.LOCK_TIMEOUT, handle.alarm_time_limit)
        try:
            with Together(limits) as together:
                joins = together.joins
                _arm(together, kind_id, wanted)
                return
        except Exception as error:
            if busy := lock.as_busy(error, handle.key):
                raise busy from error.__cause__
            if not is_worth_another_try(error):
                raise
            if not tries_left or joins:
                raise ObjectBusy(f"{handle.key} and others: the database made this give way ({error})") from error


def _arm(together: Together, kind_id: int, wanted: Mapping[str, tuple[Owner, When]]) -> None:
    def making(object_id: int, kind_id: int, name: str) -> Owner:
        return wanted[name][0]

    turns = together.make(kind_id, list(wanted), making)
    made = {turn.handle.name for turn in turns}
    if names := [name for name in wanted if name not in made]:
        where = f"kind_id = %s AND name IN ({', '.join(['%s'] * len(names))})"
        turns += together.lock(where, [kind_id, *names], making, skip_locked=False)
    for turn in turns:
        together.turns.append(turn)
        with turn.running():
            turn.start()
            turn.request_alarm(max(turn.now, moment(wanted[turn.handle.name][1], turn.now)))
