"""Objects with entries and alarms as JSON lines, out and in again; of any size, in bounded memory.

The first line names the format. Each object is a line with ``kind``, ``name``, ``fields`` (a subclass's own) and
``alarm``, followed by a line with ``key`` and ``value`` for each entry, the value as it is stored. What an app keeps in
tables of its own is not among it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from durable_objects.alarms.slot import ARMED, DEAD
from durable_objects.conf import engine
from durable_objects.database import clock, round_trip
from durable_objects.entries import serializer
from durable_objects.entries import sql as entry_sql
from durable_objects.errors import AlarmHandlerMissing, ClassUnknown, DurableObjectError, InvalidInput
from durable_objects.kinds import label_of
from durable_objects.models import DurableObject
from durable_objects.tables import Alarm, Object
from durable_objects.turns import lock, subclass_fields
from durable_objects.turns.turn import Turn

FORMAT = "durable_objects/1"

#: Objects, and entries, that are read or written at once; and bytes of entries.
PAGE = 100
BYTES = 4_000_000

#: The object's number in the file, the line's, and what it says.
Parsed = tuple[int, int, dict[str, Any]]


@dataclass(frozen=True)
class Imported:
    """What became of one object of the file: ``imported``, ``exists`` or ``refused``, and why."""

    kind: str
    name: str
    outcome: str
    entries: int = 0
    alarm: str = "none"
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def dump(rows: QuerySet[Object]) -> Iterator[str]:
    """The lines of these objects. On PostgreSQL all as they are at one moment, on SQLite each object."""
    yield _line({"format": FORMAT, "exported_at": clock.now().isoformat()})
    with _snapshot():
        seen = 0
        while page := list(rows.filter(pk__gt=seen).order_by("pk").select_related("kind")[:PAGE]):
            for row in page:
                yield from _dump_one(row)
            seen = page[-1].pk


def load(
    lines: Iterable[str], *, arm: bool = False, replace: bool = False, dry_run: bool = False
) -> Iterator[Imported]:
    """Store the objects of these lines, each in a transaction of its own, and answer what became of it.

    They arrive *held*: an alarm that was armed is set only with ``arm`` (its retries begin anew; a time that is past
    means now); one that was dead is dead again. One that has fields, storage or an alarm is left alone unless
    ``replace``. ``initialize()`` does not run. With ``dry_run`` nothing is written. Raises ``InvalidInput`` with the
    number of a line that cannot be read; what came before it is stored.
    """
    for number, group in groupby(_parsed(lines), key=lambda parsed: parsed[0]):
        at_line, header, rest = _opened(group)
        if number == 0:
            if header.get("format") != FORMAT:
                raise InvalidInput(f"line 1 says {header.get('format')!r}; allowed: a file of the format {FORMAT!r}")
            continue
        try:
            handle = _handle(header)
            stored = _try_out(handle, header, rest) if dry_run else _store(handle, header, rest, arm, replace)
            if dry_run and not replace and _is_used(handle):
                stored = Imported(*handle.key, "exists")
            yield stored
        except InvalidInput as error:
            raise InvalidInput(f"object of line {at_line}: {error}") from error
        except DurableObjectError as error:
            yield Imported(str(header.get("kind")), str(header.get("name")), "refused", reason=str(error))


def _dump_one(row: Object) -> Iterator[str]:
    handle, conn = row.handle(), clock.connection()
    with transaction.atomic(using=engine.DATABASE):
        slot = Alarm.objects.using(engine.DATABASE).filter(pk=row.pk).first()
        header = {"kind": label_of(row.kind_id), "name": row.name}
        yield _line(header | {"fields": _own_values(handle, row.pk), "alarm": _alarm(slot)})
        after = None
        while page := entry_sql.scan(conn, row.pk, entry_sql.Range(after=after), PAGE):
            yield from (f'{{"key":{json.dumps(key, ensure_ascii=False)},"value":{text}}}' for key, text in page.items())
            after = next(reversed(page))


def _alarm(slot: Alarm | None) -> dict[str, Any] | None:
    if slot is None or slot.state == Alarm.State.IDLE:
        return None
    times = {name: getattr(slot, name) for name in ("scheduled_at", "due_at")}
    said = {name: moment and moment.isoformat() for name, moment in times.items()}
    return {"state": slot.state, **said, "retry_count": slot.retry_count, "last_error": slot.last_error}


def _own_values(handle: DurableObject | None, pk: int) -> dict[str, Any]:
    names = [field.attname for field in handle._own_fields()] if handle else []
    if handle is None or not names:
        return {}
    return type(handle)._base_manager.using(engine.DATABASE).filter(pk=pk).values(*names).first() or {}


def _handle(header: dict[str, Any]) -> DurableObject:
    try:
        model = apps.get_model(str(header["kind"]))
    except (LookupError, ValueError) as error:
        raise ClassUnknown(f"no class {header['kind']!r} here") from error
    if not issubclass(model, DurableObject):
        raise ClassUnknown(f"{header['kind']} is no class of durable objects")
    handle = model.by_name(header.get("name", ""))
    known = {field.attname: field for field in handle._own_fields()}
    for name, value in (header.get("fields") or {}).items():
        try:
            setattr(handle, name, known[name].to_python(value))
        except (KeyError, ValidationError) as error:
            raise InvalidInput(f"field {name!r} of {header['kind']} cannot be {value!r}: {error}") from error
    return handle


def _store(
    handle: DurableObject, header: dict[str, Any], rest: Iterator[tuple[str, str]], arm: bool, replace: bool
) -> Imported:
    own = {name: value for name, value in subclass_fields.given(handle, None).items() if value is not None}
    with subclass_fields.pending(handle, own) as pending, Turn(handle) as turn:
        has_fields = bool(handle._own_fields()) and not pending.made
        if not replace and (
            has_fields or turn.slot.stored or entry_sql.scan(turn.conn, turn.object_id, entry_sql.Range(), 1)
        ):
            return Imported(*handle.key, "exists")
        if own:
            type(handle)._base_manager.using(engine.DATABASE).filter(pk=turn.object_id).update(**own)
        _write(turn, {}, cleared=True)
        count, size = 0, 0
        chunk: dict[str, str] = {}
        for key, text in rest:
            chunk[key], size, count = text, size + len(text), count + 1
            if len(chunk) >= PAGE or size >= BYTES:
                _write(turn, chunk)
                chunk, size = {}, 0
        _write(turn, chunk)
        return Imported(*handle.key, "imported", count, _set_alarm(turn, handle, header.get("alarm"), arm=arm))


def _write(turn: Turn, chunk: dict[str, str], *, cleared: bool = False) -> None:
    round_trip.send(turn.conn, entry_sql.storing([entry_sql.Change(turn.object_id, chunk, cleared)]))


def _set_alarm(turn: Turn, handle: DurableObject, said: dict[str, Any] | None, *, arm: bool) -> str:
    turn.slot.disarm()
    if said is None:
        return "none"
    if said["state"] == DEAD:
        turn.slot.die(str(said["last_error"]))
        turn.slot.set(scheduled_at=_time(said["scheduled_at"]), retry_count=int(said["retry_count"]))
        return "dead"
    if said["state"] != ARMED or not arm:
        return "held"
    if not handle.has_alarm_handler():
        raise AlarmHandlerMissing(f"{handle.key[0]} has no alarm() to run")
    turn.request_alarm(_time(said["due_at"] or said["scheduled_at"]))
    return "armed"


def _try_out(handle: DurableObject, header: dict[str, Any], rest: Iterator[tuple[str, str]]) -> Imported:
    said = header.get("alarm")
    if said:
        _time(said["scheduled_at"] or said["due_at"])
    return Imported(*handle.key, "imported", sum(1 for _ in rest), "held" if said else "none")


def _is_used(handle: DurableObject) -> bool:
    return lock.find(clock.connection(), handle.kind_pk(), handle.name) is not None


def _parsed(lines: Iterable[str]) -> Iterator[Parsed]:
    """Each line with its number and that of its object; 0 is the line that names the format."""
    number = -1
    for at_line, line in enumerate(lines, start=1):
        try:
            parsed = json.loads(line, parse_constant=_refuse)
            number += "key" not in parsed
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidInput(f"line {at_line} is not a JSON object: {error}") from error
        if not isinstance(parsed, dict) or (number < 0) or not parsed.keys() & {"format", "kind", "key"}:
            raise InvalidInput(f"line {at_line} is none of the format {FORMAT!r}: {line[:60]!r}")
        yield number, at_line, parsed


def _opened(group: Iterator[Parsed]) -> tuple[int, dict[str, Any], Iterator[tuple[str, str]]]:
    """An object's first line, and its entries as they are read on."""
    _, at_line, header = next(group)
    return at_line, header, (_entry(line, fields) for _, line, fields in group)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _entry(at_line: int, fields: dict[str, Any]) -> tuple[str, str]:
    text = json.dumps(fields.get("value"), ensure_ascii=False, separators=(",", ":"))
    try:
        serializer.encode(serializer.decode(text))
        return serializer.check_key(fields["key"]), text
    except InvalidInput as error:
        raise InvalidInput(f"line {at_line}: {error}") from error


def _time(said: str | None) -> datetime | None:
    try:
        moment = None if said is None else datetime.fromisoformat(said)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{said!r} is no ISO time: {error}") from error
    if moment is not None and moment.utcoffset() is None:
        raise InvalidInput(f"{said!r} has no offset from UTC")
    return moment


def _line(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), default=str)


@contextmanager
def _snapshot() -> Iterator[None]:
    conn = clock.connection()
    if conn.vendor != "postgresql" or conn.in_atomic_block:
        yield
        return
    with transaction.atomic(using=conn.alias):
        with conn.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield
