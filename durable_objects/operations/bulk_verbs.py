"""The verbs that an operation can do to everything that matches: what each takes, asks and changes.

Apps add their own by ``register``, when they are loaded (``AppConfig.ready``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from durable_objects import durations
from durable_objects.alarms import pauses
from durable_objects.alarms.pauses import Target
from durable_objects.alarms.times import check_alarm_time
from durable_objects.conf import LONGEST
from durable_objects.errors import InvalidInput
from durable_objects.formatting import absolute, span
from durable_objects.models import DurableObject
from durable_objects.operations import actions, changes
from durable_objects.tables import Object, Operation
from durable_objects.turns.turn import Turn

#: What an operation was asked with, and the operation itself.
Arguments = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Argument:
    """Something that a verb takes: a span of time (``1h 30m``), stored in seconds; or with ``is_time`` an aware time,
    stored as ISO text. ``signed``: a span may have a minus before it.
    """

    name: str
    label: str
    help: str
    is_time: bool = False
    required: bool = True
    signed: bool = False

    def read(self, given: object) -> float | str | None:
        """Return it as it is stored; None where it is not given. Raises ``InvalidInput``."""
        if given is None or given == "":
            if self.required:
                raise InvalidInput(f"{self.name} is missing: {self.help}")
            return None
        return self._time(given) if self.is_time else self._span(given)

    def _span(self, given: object) -> float:
        text = str(given).strip()
        is_minus = self.signed and text.startswith("-")
        length = given if isinstance(given, timedelta) else durations.parse(text[is_minus:])
        if not (abs(length) if self.signed else length) <= LONGEST or (not self.signed and length <= timedelta(0)):
            raise InvalidInput(f"{self.name} is {text}: give more than 0s, and at most {durations.write(LONGEST)}")
        return length.total_seconds() * (-1 if is_minus else 1)

    def _time(self, given: object) -> str:
        try:
            at = given if isinstance(given, datetime) else datetime.fromisoformat(str(given))
        except ValueError:
            raise InvalidInput(f"{self.name} is {given!r}: give an ISO time with its offset") from None
        check_alarm_time(at)
        return at.astimezone(UTC).isoformat()


@dataclass(frozen=True, slots=True)
class BulkVerb:
    """Something to do to each object that matches.

    ``act`` does it in the object's open turn; what it raises is a failure, False that there was nothing to do.
    ``permission`` (``change``, ``add``, ``delete``) is that of the object's class. ``of_alarms``: to alarms, so that
    objects that never had one do not match. ``together``: it may share a transaction with others. ``of``: only to
    objects of this class and of its subclasses; ``narrow`` leaves out those, by their primary keys, to which there is
    nothing to do. ``check`` refuses arguments that do not go together; ``phrase`` puts them into words.
    """

    name: str
    label: str
    effect: str
    done: str
    act: Callable[[Turn, Operation], object]
    arguments: tuple[Argument, ...] = ()
    permission: str = "change"
    of_alarms: bool = True
    together: bool = True
    needs_class: bool = True
    is_destructive: bool = False
    of: type[DurableObject] | None = None
    narrow: Callable[[QuerySet[Any]], QuerySet[Any]] = lambda rows: rows
    check: Callable[[dict[str, Any]], None] = lambda given: None
    phrase: Callable[[Arguments], str] = lambda given: ""

    def read(self, given: Arguments) -> dict[str, Any]:
        """Return the arguments as they are stored, without those not given. Raises ``InvalidInput``."""
        if unknown := sorted({*given} - {each.name for each in self.arguments}):
            takes = ", ".join(each.name for each in self.arguments) or "nothing"
            raise InvalidInput(f"{self.name} does not take {', '.join(unknown)}; it takes {takes}")
        read = {each.name: each.read(given.get(each.name)) for each in self.arguments}
        kept = {name: value for name, value in read.items() if value is not None}
        self.check(kept)
        return kept


def _span(operation: Operation, name: str) -> timedelta:
    return timedelta(seconds=operation.arguments.get(name, 0))


def _move(turn: Turn, operation: Operation) -> object:
    if "to" in operation.arguments:
        changes.set_to(turn, datetime.fromisoformat(operation.arguments["to"]))
        return True
    return changes.move_by(turn, _span(operation, "by"))


def _one_of_both(given: dict[str, Any]) -> None:
    if len(given) != 1:
        raise InvalidInput("move takes either by, a span of time, or to, a time: give one of them")


def _where_to(given: Arguments) -> str:
    if "to" in given:
        return f"to {absolute(datetime.fromisoformat(given['to']))}"
    by = timedelta(seconds=given["by"])
    return f"by {span(abs(by))}, to {'earlier' if by < timedelta(0) else 'later'}"


def _spread(turn: Turn, operation: Operation) -> bool:
    since = operation.asked_at + _span(operation, "after")
    return changes.spread(turn, _span(operation, "over"), since)


def _pause(turn: Turn, operation: Operation) -> None:
    now = turn.now
    until = now + _span(operation, "lasts") if "lasts" in operation.arguments else None
    target = Target(_kind(turn), turn.object_id)
    pauses.put(target, now, reason=operation.reason, by=operation.by, until=until)


def _resume(turn: Turn, operation: Operation) -> bool:
    return pauses.lift(Target(_kind(turn), turn.object_id), turn.now)


def _delete(turn: Turn, operation: Operation) -> bool:
    row = turn.handle if isinstance(turn.handle, Object) else Object.objects.get(pk=turn.object_id)
    return actions.delete(row)


def _kind(turn: Turn) -> int:
    return turn.handle.kind_pk()


def _span_of(name: str, text: str) -> Callable[[Arguments], str]:
    return lambda given: text.format(span(timedelta(seconds=given[name]))) if name in given else ""


_OVER = Argument("over", "Over", "the last of them is put off by this span of time: 30m, 2h")
_AFTER = Argument("after", "Beginning in", "those that are due by then begin after this span", required=False)
_BY = Argument("by", "Later by", "a span of time, 1h 30m; earlier with a minus, -10m", required=False, signed=True)
_TO = Argument("to", "Or to a time", "an ISO time with its offset", is_time=True, required=False)
_LASTS = Argument("lasts", "For", "it ends by itself after this span of time; else when it is resumed", required=False)

_ALL = (
    BulkVerb(
        "run", "Run", "They run now; those that are retried keep their count.", "Set to run now",
        lambda turn, operation: changes.run_now(turn),
    ),
    BulkVerb(
        "move", "Move", "They are set for the other time, with all their retries.", "Moved", _move,
        arguments=(_BY, _TO), check=_one_of_both, phrase=_where_to,
    ),
    BulkVerb(
        "spread", "Spread", "Each is put off by a part of this time that a hash of its object decides; those that are "
        "due already count from now on. Retries are kept.", "Spread", _spread,
        arguments=(_OVER, _AFTER), phrase=_span_of("over", "over {}"),
    ),
    BulkVerb(
        "mark_late", "Mark as late", "How late each is goes to its history and to the log. They stay as they are.",
        "Marked as late", lambda turn, operation: changes.mark_late(turn), needs_class=False,
    ),
    BulkVerb(
        "cancel", "Cancel", "What they were set for will not happen.", "Alarm cancelled",
        lambda turn, operation: changes.cancel(turn), needs_class=False, is_destructive=True,
    ),
    BulkVerb(
        "revive", "Revive", "They run now, with all their retries.", "Revived",
        lambda turn, operation: changes.revive(turn),
    ),
    BulkVerb(
        "discard", "Discard", "Dead alarms are forgotten: nothing is set afterwards. Their runs stay in the history.",
        "Discarded", lambda turn, operation: changes.discard(turn), needs_class=False, is_destructive=True,
    ),
    BulkVerb(
        "pause", "Pause", "Their alarms keep their times, and run once they are resumed. No run is stopped.", "Paused",
        _pause, arguments=(_LASTS,), of_alarms=False, needs_class=False, phrase=_span_of("lasts", "for {}"),
    ),
    BulkVerb(
        "resume", "Resume", "What has come due meanwhile runs at once.", "Resumed", _resume,
        of_alarms=False, needs_class=False,
    ),
    BulkVerb(
        "delete", "Delete", "They go with their storage, alarm and history. This cannot be undone.", "Deleted", _delete,
        permission="delete", of_alarms=False, together=False, needs_class=False, is_destructive=True,
    ),
)  # fmt: skip

_verbs: dict[str, BulkVerb] = {verb.name: verb for verb in _ALL}


def register(verb: BulkVerb) -> None:
    """Add a verb of an app's. Raises ``ValueError`` where another one has the name."""
    if _verbs.setdefault(verb.name, verb) is not verb:
        raise ValueError(f"there is a verb {verb.name!r} already: call this one something else")


def get(name: str) -> BulkVerb:
    """Return the verb of this name. Raises ``InvalidInput``."""
    if name not in _verbs:
        raise InvalidInput(f"there is no verb {name!r}: choose one of {', '.join(_verbs)}")
    return _verbs[name]


def find(name: str) -> BulkVerb | None:
    """Return the verb of this name; None where this code has none."""
    return _verbs.get(name)


def label_of(name: str) -> str:
    """Return what a page calls the verb, also one that this code does not have."""
    return _verbs[name].label if name in _verbs else name


def every() -> list[BulkVerb]:
    """Return all verbs."""
    return [*_verbs.values()]
