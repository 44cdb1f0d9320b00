"""The qualifiers of a selection: what each takes, how it is written and described, and which alarms it means."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import F, Q, QuerySet, Value
from django.db.models.functions import StrIndex, Upper
from django.db.models.lookups import GreaterThan

from durable_objects import durations, kinds
from durable_objects.alarms import predicates
from durable_objects.alarms.queries import STATES, SetAside, condition
from durable_objects.conf import engine
from durable_objects.errors import InvalidInput
from durable_objects.formatting import absolute, gist, span
from durable_objects.operations.selection.text import InvalidSelection, Text, quoted
from durable_objects.tables import Alarm

#: Times and spans lie within this of now: every database can add it to any time.
FARTHEST = timedelta(days=36_500)
_SMALLEST = timedelta(milliseconds=1)
_LARGEST_NUMBER = 2**31 - 1
_DATE = re.compile(r"\d{4,}-")
_GROUP = re.compile(r"[0-9a-f]{16}")

#: A time, or a span from now.
Bound = datetime | timedelta


@dataclass(frozen=True)
class Qualifier:
    """``read`` takes a value and how its term was written, and raises ``InvalidSelection``; ``write`` is the way back.

    ``condition`` tells which alarms are meant, at ``now`` and with their columns ``at``, as in ``predicates``; None for
    what is a matter of the object.
    """

    allowed: str
    read: Callable[[Text, str], Any]
    write: Callable[[Any], str]
    describe: Callable[[Any], str]
    condition: Callable[[Any, datetime, str], Q] | None = None


def fixed(bound: Any, now: datetime) -> datetime:
    """Return the time of a bound."""
    return now + bound if isinstance(bound, timedelta) else bound


def _read_kind(value: Text, shown: str) -> int:
    kind = kinds.find(_whole(value, shown))
    if kind is None:
        raise InvalidSelection(f"{shown} names no class of objects: {kinds.hint(value.text)}.")
    return kind.pk


def _read_state(value: Text, shown: str) -> str:
    state = _whole(value, shown).lower()
    if state not in STATES:
        raise InvalidSelection(f"{shown} names no state. Allowed: {', '.join(STATES)}.")
    return state


def _read_text(value: Text, shown: str) -> Text:
    if not value.text:
        raise InvalidSelection(f"{shown} has no text behind it. Allowed: a text, or its beginning and *.")
    return value


def _read_part(value: Text, shown: str) -> str:
    if value.is_beginning:
        raise InvalidSelection(f"{shown} ends with *, but is searched for anywhere in what is stored: leave that out.")
    return _read_text(value, shown).text


def _read_bound(value: Text, shown: str) -> Bound:
    text = _whole(value, shown)
    try:
        return _read_span(value, shown) if not _DATE.match(text) else _moment(text)
    except InvalidSelection:
        raise
    except (InvalidInput, ValueError, OverflowError):
        raise InvalidSelection(f"{shown} has no time behind it. Allowed: {_TIMES}.") from None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None:
        raise ValueError(text)
    return moment.astimezone(UTC)


def _read_span(value: Text, shown: str) -> timedelta:
    try:
        length = round(durations.parse(_whole(value, shown)) / _SMALLEST) * _SMALLEST
    except InvalidInput as error:
        raise InvalidSelection(f"{shown}: {error}") from None
    if not timedelta(0) <= length <= FARTHEST:
        raise InvalidSelection(f"{shown} goes too far. Allowed: 0s to {durations.write(FARTHEST)}.")
    return length


def _read_number(value: Text, shown: str) -> int:
    text = _whole(value, shown)
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > _LARGEST_NUMBER:
        raise InvalidSelection(f"{shown} has no number behind it. Allowed: 0 to {_LARGEST_NUMBER}.")
    return int(text)


def _whole(value: Text, shown: str) -> str:
    if value.is_beginning:
        raise InvalidSelection(f"{shown} ends with *, which stands behind names and keys only.")
    return value.text


def _write_span(length: timedelta) -> str:
    return durations.write(length).replace(" ", "")


def _write_bound(bound: Bound) -> str:
    return _write_span(bound) if isinstance(bound, timedelta) else bound.isoformat().replace("+00:00", "Z")


def _is_due(bound: Bound, of_time: str, of_span: str) -> str:
    return (
        f"due in {of_span} than {span(bound)}" if isinstance(bound, timedelta) else f"due {of_time} {absolute(bound)}"
    )


def _of_error(error: str, now: datetime, at: str) -> Q:
    return _failed(at) & has_error(error, f"{at}last_error", f"{at}error_group")


def _of_failures(number: int, now: datetime, at: str) -> Q:
    return _failed(at) & Q(**{f"{at}retry_count__gt": number})


def _failed(at: str) -> Q:
    """Return the condition of alarms that may have an error, or failed runs: no others do, and these have indexes."""
    return predicates.dead(at) | predicates.retrying(at)


def error_in_words(error: str, alarms: QuerySet[Alarm] | None = None) -> str:
    """Return it as people read it: of a group of errors what one of them says, where an alarm (of these) has one."""
    if not _GROUP.fullmatch(error):
        return f"with an error that has {quoted(error)}"
    rows = (Alarm.objects.using(engine.DATABASE) if alarms is None else alarms).order_by().filter(error_group=error)
    for failed in (predicates.dead(), predicates.retrying()):  # each has its index
        for text in rows.filter(failed).values_list("last_error", flat=True)[:1]:
            return f"with an error like {quoted(gist(text))}"
    return f"with an error of the group {error}"


def has_error(error: str, text: str, group: str = "") -> Q:
    """Return the condition of rows whose error is of this group, or has these words, in capitals or not; by the columns
    for both.

    PostgreSQL guesses that every third row has them, and so goes along an index until it has what a list shows. Of
    ``LIKE`` it would guess that next to none has, and read and sort all.
    """
    if group and _GROUP.fullmatch(error):
        return Q(**{group: error})
    upper = _AsciiUpper if error.isascii() else Upper
    return Q(GreaterThan(StrIndex(upper(F(text)), upper(Value(error))), 0))


class _AsciiUpper(Upper):
    """Capitals of A to Z only, as for SQLite: for PostgreSQL a fifth of the work."""

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template='UPPER((%(expressions)s) COLLATE "C")', **context)


def _of_lateness(length: timedelta, now: datetime, at: str) -> Q:
    return predicates.due(now - length, at) & predicates.free(now, at) & SetAside.look(now).runnable()


_TIMES = "a span from now (1h, 2d12h) or a time with its zone (2031-01-01T10:00Z)"

#: In the order in which they are written.
QUALIFIERS: dict[str, Qualifier] = {
    "class:": Qualifier(
        "a class, app_label.ClassName", _read_kind, kinds.label_of, lambda kind: f"of {kinds.label_of(kind)}"
    ),
    "state:": Qualifier(
        f"one of {', '.join(STATES)}",
        _read_state,
        str,
        lambda state: STATES[state][0].lower() + STATES[state][1:],
        condition,
    ),
    "name:": Qualifier("a name, or its beginning and *", _read_text, str, lambda text: f"with {text.describe('name')}"),
    "key:": Qualifier(
        "a key of its storage, or its beginning and *", _read_text, str, lambda text: f"with {text.describe('key')}"
    ),
    "value:": Qualifier(
        "a text in one of its stored values, hidden ones aside; with key: in the value of such a key",
        _read_part,
        quoted,
        lambda text: f"with {quoted(text)} in a value",
    ),
    "error:": Qualifier(
        "words of its last error, or the 16 digits of a group of errors",
        _read_part,
        quoted,
        error_in_words,
        _of_error,
    ),
    "due>": Qualifier(
        _TIMES,
        _read_bound,
        _write_bound,
        lambda bound: _is_due(bound, "after", "more"),
        lambda bound, now, at: Q(**{f"{at}wake_at__gt": fixed(bound, now)}),
    ),
    "due<": Qualifier(
        _TIMES,
        _read_bound,
        _write_bound,
        lambda bound: _is_due(bound, "before", "less"),
        lambda bound, now, at: Q(**{f"{at}wake_at__lt": fixed(bound, now)}),
    ),
    "late>": Qualifier(
        "a span (5m, 2h), of those that could run",
        _read_span,
        _write_span,
        lambda length: f"late by more than {span(length)}",
        _of_lateness,
    ),
    "tried>": Qualifier(
        "a number of failed runs",
        _read_number,
        str,
        lambda number: f"failed more than {number} time{'s' * (number != 1)}",
        _of_failures,
    ),
}
