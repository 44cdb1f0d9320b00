"""Export and import objects with entries, alarms and schedules as JSON lines: of any size, in bounded memory.

The first line names the format. Each object is a line with ``kind``, ``name``, ``fields`` (a subclass's own), ``alarm``
and ``schedules``, followed by a line with ``key`` and ``value`` for each entry, the value as it is stored. Rows
that an app keeps in tables of its own are not included.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from durable_objects.alarms.predicates import ARMED, DEAD, is_idle, is_leased
from durable_objects.conf import engine
from durable_objects.database import clock, round_trip
from durable_objects.database.backends import backend_of
from durable_objects.entries import serializer
from durable_objects.entries import sql as entry_sql
from durable_objects.errors import AlarmHandlerMissing, ClassUnknown, DurableObjectError, InvalidInput
from durable_objects.kinds import label_of
from durable_objects.models import DurableObject, as_handle
from durable_objects.operations import dumped_schedules
from durable_objects.operations.dumped_schedules import moment_of
from durable_objects.tables import Alarm, Object
from durable_objects.turns import lock, subclass_fields
from durable_objects.turns.turn import Turn

FORMAT = "durable_objects/1"

#: Objects or entries, and bytes of entries, that are read or written in one statement.
PAGE = 100
BYTES = 4_000_000

#: The object's number in the file, the line's number, and the line's JSON object.
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
        """Return it for JSON."""
        return asdict(self)


def dump(rows: QuerySet[Object]) -> Iterator[str]:
    """Yield the lines of these objects: on PostgreSQL from one snapshot, on SQLite from one per object."""
    yield _line({"format": FORMAT, "exported_at": clock.now().isoformat()})
    with _snapshot():
        seen = 0
        while page := list(rows.filter(pk__gt=seen).order_by("pk").select_related("kind")[:PAGE]):
            for row in page:
                yield from _dump_one(row)
            seen = page[-1].pk


def load(
    lines: Iterable[str], *, arm: bool = False, replace: bool = False, dry_run: bool = False, name: str | None = None
) -> Iterator[Imported]:
    """Store the objects of these lines, each in a transaction of its own, and yield what became of each.

    They arrive with alarms and schedules on hold: one that was armed is set only with ``arm`` (an alarm with all its
    retries; a time that is past means now); one that was dead is dead again. An object that already has fields,
    storage, an alarm or schedules is left alone unless ``replace``, and refused while a run of it has unlocked.
    ``initialize()`` does not run. With ``name`` it is stored under that; with ``dry_run`` nothing is written. Raises
    ``InvalidInput`` with the number of a line that cannot be read; the objects before it are stored.
    """
    for number, group in groupby(_parse(lines), key=lambda parsed: parsed[0]):
        at_line, header, rest = _split(group)
        if number == 0:
            if header.get("format") != FORMAT:
                raise InvalidInput(f"line 1 names the format {header.get('format')!r}; this code reads {FORMAT!r}")
            continue
        try:
            header |= {} if name is None else {"name": name}
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
    handle, conn = as_handle(row), clock.connection()
    # No block inside of another transaction: between two lines whoever reads them may begin one, and end it later.
    with nullcontext() if conn.in_atomic_block else transaction.atomic(using=engine.DATABASE):
        slot = Alarm.objects.using(engine.DATABASE).filter(pk=row.pk).first()
        header: dict[str, Any] = {"kind": label_of(row.kind_id), "name": row.name}
        header |= {"fields": _own_values(handle, row.pk), "alarm": _alarm(slot)}
        yield _line(header | {"schedules": dumped_schedules.read(row.pk)})
        after = None
        while page := entry_sql.scan(conn, row.pk, entry_sql.Range(after=after), PAGE):
            yield from (f'{{"key":{json.dumps(key, ensure_ascii=False)},"value":{text}}}' for key, text in page.items())
            after = next(reversed(page))


def _alarm(slot: Alarm | None) -> dict[str, Any] | None:
    if slot is None or is_idle(slot):
        return None
    times = {name: getattr(slot, name) for name in ("scheduled_at", "due_at")}
    iso = {name: moment and moment.isoformat() for name, moment in times.items()}
    return {"state": slot.state, **iso, "retry_count": slot.retry_count, "last_error": slot.last_error}


def _own_values(handle: DurableObject | None, pk: int) -> dict[str, Any]:
    names = [field.attname for field in subclass_fields.own_fields(type(handle))] if handle else []
    if handle is None or not names:
        return {}
    return type(handle)._base_manager.using(engine.DATABASE).filter(pk=pk).values(*names).first() or {}


def _handle(header: dict[str, Any]) -> DurableObject:
    try:
        model = apps.get_model(str(header["kind"]))
    except (LookupError, ValueError) as error:
        raise ClassUnknown(f"this code has no class {header['kind']!r}") from error
    if not issubclass(model, DurableObject):
        raise ClassUnknown(f"{header['kind']} is not a class of durable objects")
    handle = model.by_name(header.get("name", ""))
    known = {field.attname: field for field in subclass_fields.own_fields(type(handle))}
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
        has_fields = bool(subclass_fields.own_fields(type(handle))) and not pending.made
        if not replace and (
            has_fields or turn.slot.stored or entry_sql.scan(turn.conn, turn.object_id, entry_sql.Range(), 1)
        ):
            return Imported(*handle.key, "exists")
        if is_leased(turn.slot, turn.now):
            raise DurableObjectError(
                f"{handle.key[0]} {handle.name!r} is not overwritten while a run of it is in progress (it has "
                f"unlocked, until {turn.slot.leased_until:%H:%M:%S} UTC or longer): try again after that"
            )
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
        word = _set_alarm(turn, handle, header.get("alarm"), arm=arm)
        if dumped_schedules.store(turn, handle, header.get("schedules"), arm=arm) and word == "none":
            word = "armed" if arm else "held"
        return Imported(*handle.key, "imported", count, word)


def _write(turn: Turn, chunk: dict[str, str], *, cleared: bool = False) -> None:
    round_trip.send(turn.conn, entry_sql.storing(turn.conn, [entry_sql.Change(turn.object_id, chunk, cleared)]))


def _set_alarm(turn: Turn, handle: DurableObject, alarm: dict[str, Any] | None, *, arm: bool) -> str:
    turn.slot.disarm()
    if alarm is None:
        return "none"
    if alarm["state"] == DEAD:
        turn.slot.die(str(alarm["last_error"]))
        turn.slot.set(scheduled_at=moment_of(alarm["scheduled_at"]), retry_count=_retries(alarm["retry_count"]))
        return "dead"
    if alarm["state"] != ARMED or not arm:
        return "held"
    if not handle.has_alarm_handler():
        raise AlarmHandlerMissing(f"{handle.key[0]} has no alarm() method, so its alarm cannot be set")
    turn.request_alarm(moment_of(alarm["due_at"] or alarm["scheduled_at"]))
    return "armed"


def _retries(count: Any) -> int:
    if type(count) is not int or count < 0:
        raise InvalidInput(f"the alarm's retry_count is {count!r}: it must be a whole number from 0 on")
    return count


def _try_out(handle: DurableObject, header: dict[str, Any], rest: Iterator[tuple[str, str]]) -> Imported:
    alarm = header.get("alarm")
    if alarm:
        moment_of(alarm["scheduled_at"] or alarm["due_at"])
    return Imported(*handle.key, "imported", sum(1 for _ in rest), "held" if alarm else "none")


def _is_used(handle: DurableObject) -> bool:
    return lock.find(clock.connection(), handle.kind_pk(), handle.name) is not None


def _parse(lines: Iterable[str]) -> Iterator[Parsed]:
    """Yield each line with the number of its object, and its own; object 0 is the line that names the format."""
    number = -1
    for at_line, line in enumerate(lines, start=1):
        try:
            parsed = json.loads(line, parse_constant=_refuse)
            number += "key" not in parsed
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidInput(f"line {at_line} is not a JSON object: {error}") from error
        if not isinstance(parsed, dict) or (number < 0) or not parsed.keys() & {"format", "kind", "key"}:
            raise InvalidInput(f"line {at_line} is not of the format {FORMAT!r}: {line[:60]!r}")
        yield number, at_line, parsed


def _split(group: Iterator[Parsed]) -> tuple[int, dict[str, Any], Iterator[tuple[str, str]]]:
    """Split an object's lines into the first one's number, its fields, and the entries, read one by one."""
    _, at_line, header = next(group)
    return at_line, header, (_entry(line, fields) for _, line, fields in group)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _entry(at_line: int, fields: dict[str, Any]) -> tuple[str, str]:
    text = json.dumps(fields.get("value"), ensure_ascii=False, separators=(",", ":"))
    try:
        serializer.encode(serializer.decode(text))
        return serializer.check_key(fields["key"]), text
    except InvalidInput as error:
        raise InvalidInput(f"line {at_line}: {error}") from error


def _line(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), default=str)


@contextmanager
def _snapshot() -> Iterator[None]:
    conn = clock.connection()
    statements = () if conn.in_atomic_block else backend_of(conn).snapshot()
    if not statements:
        yield
        return
    with transaction.atomic(using=conn.alias):
        with conn.cursor() as cursor:
            for sql, params in statements:
                cursor.execute(sql, params)
        yield
