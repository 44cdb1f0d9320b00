"""An object's storage: keys and values in transactions, and its one alarm. What users call as ``self.storage``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.db import DatabaseError, transaction

from durable_objects.alarms.times import alarm_at, check_alarm_time
from durable_objects.database import clock
from durable_objects.database.errors import is_worth_another_try
from durable_objects.database.round_trip import Statement
from durable_objects.entries import sql as entry_sql
from durable_objects.entries.serializer import decode, encode
from durable_objects.errors import InvalidInput
from durable_objects.turns import attempts, lock
from durable_objects.turns.async_calls import awaited
from durable_objects.turns.calls import change_in_turn, current, enter
from durable_objects.turns.handle import Owner, check_has_handler
from durable_objects.turns.turn import Turn
from durable_objects.validation import check_key

Result = TypeVar("Result")


class Storage:
    """Transactional key-value storage with one alarm.

    Inside a turn it sees the turn's own writes, and nothing is kept unless the turn ends well. Outside of one a read
    is a plain read of what is committed (no lock, no row made, no ``initialize()``), and a write is a turn of its own.

    Keys: text of 1 to 2,048 bytes of UTF-8, in code-point order. Values: JSON types and ``datetime``, ``date``,
    ``time``, ``timedelta``, ``Decimal``, ``UUID``, ``bytes``, ``tuple``, ``set``, ``frozenset``, up to 2 MB encoded,
    and they come back as fresh copies of exactly their types. Anything else raises ``InvalidKey`` or ``InvalidValue``
    and changes nothing. Every call raises ``RunSuperseded`` in a run that another one has taken over.

    Async code has a twin of each, ``await storage.aget(key)``: in the thread of ``acall``, with the same promises.
    """

    __slots__ = ("_owner",)

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value under the key, or ``default``."""
        text = self._texts([check_key(key)]).get(key)
        return default if text is None else decode(text)

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values under those of the keys that are there, in key order (DO-61)."""
        if isinstance(keys, str):
            raise InvalidInput(f"get_many() wants several keys, got the text {keys!r}: put it into a list")
        wanted = sorted({check_key(key) for key in keys})
        texts = self._texts(wanted)
        return {key: decode(texts[key]) for key in wanted if key in texts}

    def put(self, key: str, value: Any) -> None:
        """Store the value under the key."""
        self.put_many({key: value})

    def put_many(self, values: Mapping[str, Any]) -> None:
        """Store all the values, or none of them (DO-64)."""
        if not isinstance(values, Mapping):
            raise InvalidInput(f"put_many() wants a dict of keys to values, got a {type(values).__name__}")
        texts = {check_key(key): encode(value) for key, value in values.items()}
        self._in_turn(lambda turn: turn.write(texts))

    def delete(self, key: str) -> bool:
        """Delete the key; return whether it was there (DO-65)."""
        return self.delete_many([key]) == 1

    def delete_many(self, keys: Iterable[str]) -> int:
        """Delete the keys; return how many of them were there (DO-65)."""
        if isinstance(keys, str):
            raise InvalidInput(f"delete_many() wants several keys, got the text {keys!r}: put it into a list")
        wanted = sorted({check_key(key) for key in keys})

        def delete(turn: Turn) -> int:
            there = turn.get(wanted)
            turn.write(dict.fromkeys(there))
            return len(there)

        return self._in_turn(delete)

    def list(
        self,
        *,
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        prefix: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> dict[str, Any]:
        """Return the entries in key order: from ``start`` (or after ``start_after``) to before ``end`` (DO-66/67).

        With ``prefix`` too, those in both. ``reverse`` turns the order, not the bounds. ``start`` together with
        ``start_after``, and a ``limit`` below 1, raise ``InvalidInput``. All that is asked for is held in memory.
        """
        where = _range(start, start_after, end, prefix, reverse)
        if limit is not None and (type(limit) is not int or limit < 1):
            raise InvalidInput(f"list() limit is {limit!r}: it must be a whole number from 1 on, or None")
        texts = self._read(
            lambda turn: turn.scan(where, limit),
            lambda owner: entry_sql.scan(clock.connection(), owner, where, limit),
        )
        return {key: decode(text) for key, text in texts.items()}

    def delete_all(self, *, keep_alarm: bool = False) -> None:
        """Delete all entries, and the alarm too unless it is to be kept (DO-24)."""

        def clear(turn: Turn) -> None:
            turn.clear()
            if not keep_alarm:
                turn.request_alarm(None)

        self._in_turn(clear)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Undo the block as a whole when it raises, alarm changes too (DO-55). Blocks may be nested.

        Django's ``atomic()`` and savepoints do the same inside a turn, by Django's cursor; the driver's own do not.
        Outside a turn this is one turn. It cannot be run again after a deadlock, so that raises ``ObjectBusy``.
        """
        try:
            with enter(self._owner), transaction.atomic(using=clock.connection().alias):
                yield
        except DatabaseError as error:
            if not is_worth_another_try(error):
                raise
            raise attempts.gave_way(self._owner.key, error) from error

    def set_alarm(self, when: datetime | timedelta) -> None:
        """Make ``alarm()`` run at ``when``: an aware ``datetime``, or a ``timedelta`` from the database's now.

        Replaces what was set before, also a dead alarm. A past time means now. Never early; at least once; retried.
        In the handler itself it counts only if the run ends well. Anything else as ``when`` (naive, a number, at or
        before the epoch, past the year 9999) raises ``InvalidAlarmTime``; a class without ``alarm()`` raises
        ``AlarmHandlerMissing``.
        """
        check_has_handler(self._owner)
        check_alarm_time(when)

        def arm(turn: Turn) -> None:
            turn.request_alarm(alarm_at(when, turn.now))

        self._in_turn(arm)

    def get_alarm(self) -> datetime | None:
        """Return the time that is set, also between retries; None once dead, and in the handler unless set again."""
        turn = current(self._owner)
        if turn is not None:
            return turn.alarm()
        seen = lock.peek(clock.connection(), self._owner.kind_pk(), self._owner.name)
        if seen is None:
            return None
        slot, now = seen
        return slot.pending(now)

    def delete_alarm(self) -> None:
        """Delete the alarm, also one that waits for a retry, or a dead one. A run in progress goes on."""
        self._in_turn(lambda turn: turn.request_alarm(None))

    # -- for async code, as Django has it: the same promises, awaited

    aget = awaited(get)
    aget_many = awaited(get_many)
    aput = awaited(put)
    aput_many = awaited(put_many)
    adelete = awaited(delete)
    adelete_many = awaited(delete_many)
    alist = awaited(list)
    adelete_all = awaited(delete_all)
    aset_alarm = awaited(set_alarm)
    aget_alarm = awaited(get_alarm)
    adelete_alarm = awaited(delete_alarm)

    def _in_turn(self, change: Callable[[Turn], Result]) -> Result:
        return change_in_turn(self._owner, change)

    def _texts(self, keys: Sequence[str]) -> dict[str, str]:
        return self._read(
            lambda turn: turn.get(keys),
            lambda owner: entry_sql.get(clock.connection(), owner, keys),
        )

    def _read(
        self, inside: Callable[[Turn], dict[str, str]], outside: Callable[[Statement], dict[str, str]]
    ) -> dict[str, str]:
        turn = current(self._owner)
        if turn is not None:
            return inside(turn)
        return outside(lock.key_of(self._owner.kind_pk(), self._owner.name))


def _range(start: str | None, after: str | None, end: str | None, prefix: str | None, reverse: bool) -> entry_sql.Range:
    if start is not None and after is not None:
        raise InvalidInput(f"list() takes start or start_after, not both (got {start!r} and {after!r})")
    for name, bound in (("start", start), ("start_after", after), ("end", end), ("prefix", prefix)):
        if bound is not None and not isinstance(bound, str):
            raise InvalidInput(f"list() {name} is {bound!r}: it must be text")
        if bound:
            check_key(bound)
    return entry_sql.Range(start, after, end, prefix, reverse)
