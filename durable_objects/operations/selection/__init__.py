"""Which alarms and objects are meant: the one text that lists are searched by, operations keep and commands take.

``class:shop.Payment state:dead name:cart-00* key:customer value:ann error:"card declined" due<1h late>5m tried>3``: all
of it has to hold. A bare word is the beginning of a name.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from django.db.models import Q, QuerySet

from durable_objects.alarms import predicates
from durable_objects.conf import engine
from durable_objects.kinds import content_types
from durable_objects.operations.selection.qualifiers import QUALIFIERS, error_in_words, fixed
from durable_objects.operations.selection.stored import IN_LISTS, Within, newest_objects, objects_with
from durable_objects.operations.selection.text import InvalidSelection, Term, Text, terms_of
from durable_objects.tables import Alarm, Object

#: States of alarms that will run.
BY_DUE = frozenset({"armed", "retrying", "due", "overdue", "paused", "limited", "parked", "hour", "day"})

#: What no index has alone: rows are read until enough are found.
READ = ("key:", "value:", "error:", "tried>")

#: In place of what quotes an object.
_UNQUOTED = {"name:": "by name", "key:": "with a key", "value:": "with a text in a value", "error:": "with an error"}

__all__ = ["IN_LISTS", "QUALIFIERS", "InvalidSelection", "Selection", "Text", "Within"]


@dataclass(frozen=True)
class Selection:
    """What has to hold: values by qualifier (``class:``, ``due<``), in the order of ``QUALIFIERS``."""

    given: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, given: dict[str, Any]) -> Selection:
        """Return the selection of these values; one that is None stands for anything."""
        return cls(tuple((name, given[name]) for name in QUALIFIERS if given.get(name) is not None))

    @classmethod
    def parse(cls, text: str, now: datetime | None = None) -> Selection:
        """Read a selection. Raises ``InvalidSelection``, which says which word is wrong, and what is allowed.

        With ``now`` spans until something is due become times, so that the selection means the same ever after.
        """
        given: dict[str, Any] = {}
        for term in terms_of(text):
            if term.qualifier not in QUALIFIERS:
                raise InvalidSelection(_unknown(term))
            if term.qualifier in given:
                raise InvalidSelection(
                    f"{term.shown} is the second {term.qualifier} here, and there can be one. "
                    'A text with blanks stands in double quotes: "my cart".'
                )
            given[term.qualifier] = QUALIFIERS[term.qualifier].read(term.value, term.shown)
        if now is not None:
            given |= {name: fixed(given[name], now) for name in ("due>", "due<") if name in given}
        return cls.of(given)

    def get(self, name: str) -> Any:
        """Return the value of a qualifier; None if it is not given."""
        return dict(self.given).get(name)

    @property
    def ordering(self) -> tuple[str, ...]:
        """The order of the alarms in a list: by due time where an index has it and that is the question."""
        by_due = self.get("state:") in BY_DUE or any(self.get(name) is not None for name in ("due>", "due<", "late>"))
        return ("wake_at", "pk") if by_due else ("-pk",)

    def having(self, **changes: Any) -> Selection:
        """Return it with other values by qualifier, without its sign."""
        return self.of({**dict(self.given), **{f"{name}:": value for name, value in changes.items()}})

    def __str__(self) -> str:
        """Write it as ``parse`` reads it: the same text for the same meaning."""
        return " ".join(f"{name}{QUALIFIERS[name].write(value)}" for name, value in self.given)

    def words(self, alarms: QuerySet[Alarm] | None = None, *, quotes: bool = True) -> str:
        """Describe it in plain English, to stand behind "alarms" or "objects". ``alarms``: of which an error may be
        quoted; None: of all. Without ``quotes`` it has no name, no error and nothing of storage.
        """

        def describe(name: str, value: Any) -> str:
            if not quotes and name in _UNQUOTED:
                return _UNQUOTED[name]
            return error_in_words(value, alarms) if name == "error:" else QUALIFIERS[name].describe(value)

        return ", ".join(describe(name, value) for name, value in self.given) or "all of them"

    def only(self, *names: str) -> Selection:
        """Return what it says by these qualifiers alone."""
        return Selection(tuple(each for each in self.given if each[0] in names))

    @property
    def reads_rows(self) -> bool:
        """Whether rows have to be read to tell which are meant: a list does that once, by ``first_alarms`` …"""
        return self.get("state:") == "idle" or self.only(*READ).given != ()

    def first_alarms(self, now: datetime, number: int, within: Within) -> list[int]:
        """Return the primary keys of the first ``number`` alarms, in the order of a list (``ordering``)."""
        rows = self.alarms(now, within=within)
        if self.get("state:") is not None or not self.only("error:", "tried>").given:
            return list(rows.order_by(*self.ordering).values_list("pk", flat=True)[:number])
        # Each in the order of its index, so that no more are read than are found: with "or" all would be, and sorted.
        dead, retrying = rows.filter(predicates.dead()).order_by("-pk"), rows.filter(predicates.retrying())
        found = [each.values_list("pk", flat=True)[:number] for each in (dead, retrying.order_by("wake_at"))]
        return sorted({*found[0], *found[1]}, reverse=True)[:number]

    def first_objects(self, now: datetime, number: int, within: Within) -> list[int]:
        """Return the primary keys of the ``number`` newest objects."""
        return list(self.objects(now, within=within).order_by("-pk").values_list("pk", flat=True)[:number])

    def alarms(self, now: datetime, *, within: Within | None = None, itself: bool = False) -> QuerySet[Alarm]:
        """Return the alarms, unordered. ``within``: where it is searched for what no index has; None: everywhere.
        ``itself``: due and late is what the alarm is, not what a schedule of its object is.
        """
        rows = Alarm.objects.using(engine.DATABASE).order_by().filter(self.condition(now, within))
        return rows.filter(predicates.of_itself(self.of_alarm(now, ""))) if itself else rows

    def condition(self, now: datetime, within: Within | None = None) -> Q:
        """Return the condition on alarms; ``within`` as for them."""
        kind_id = self.get("class:")
        # By name or in the order of age a class is found by its objects' index, else by that of its alarms: no join.
        by_object = self.get("name:") is not None or not self.asks_alarms or self.get("state:") == "idle"
        of_kind = Q() if kind_id is None or by_object else Q(kind=kind_id)
        return of_kind & self.of_object("object__", within, of_class=by_object) & self.of_alarm(now, "")

    def objects(self, now: datetime, *, within: Within | None = None) -> QuerySet[Object]:
        """Return the objects, unordered; ``within`` as for ``alarms``."""
        rows = Object.objects.using(engine.DATABASE).order_by()
        if within is not None and self.get("state:") == "idle":  # an object without an alarm is in no index
            rows = rows.filter(newest_objects(within.objects, self.get("class:")))
        return rows.filter(self.of_object("", within), self.of_alarm(now, "alarm_row__"))

    @property
    def asks_alarms(self) -> bool:
        """Whether anything of it is a matter of alarms."""
        return any(QUALIFIERS[name].condition for name, _ in self.given)

    def of_object(self, at: str, within: Within | None = None, *, of_class: bool = True) -> Q:
        """Return the condition on objects alone, for rows that have the object's columns ``at``; also ``of_class``."""
        kind_id, name, key, value = map(self.get, ("class:", "name:", "key:", "value:"))
        found = Q()
        if kind_id is not None and of_class:
            found &= Q(**{f"{at}kind": kind_id})
        if name is not None:
            found &= name.condition(f"{at}name")
            if kind_id is None:  # names are indexed within their class
                found &= Q(**{f"{at}kind__in": list(content_types().values_list("pk", flat=True))})
        if self.looks_in_each:
            found &= newest_objects(within and within.objects, kind_id, at)
            found &= Q(**{f"{at}pk__in": objects_with(key, None)})
        elif key is not None or value is not None:
            found &= Q(**{f"{at}pk__in": objects_with(key, value, kind_id, of_newest=within and within.entries)})
        return found

    @property
    def looks_in_each(self) -> bool:
        """Whether a key is looked for in each object, by an index, and not a text among all entries."""
        return self.get("key:") is not None and self.get("value:") is None

    def of_rows(self) -> Q:
        """Return the condition by class and name, for rows that have their object's ``kind``: no object is looked
        at for it, but names are indexed within the class.
        """
        kind_id, by_object = self.get("class:"), self.get("name:") is not None
        of_kind = Q() if kind_id is None or by_object else Q(kind=kind_id)
        return of_kind & self.only("class:", "name:").of_object("object__", of_class=by_object)

    def of_alarm(self, now: datetime, at: str) -> Q:
        """Return the condition on alarms alone, for rows that have the alarm's columns ``at``."""
        found = Q()
        for name, value in self.given:
            tells = QUALIFIERS[name].condition
            found &= tells(value, now, at) if tells is not None else Q()
        return found


def _unknown(term: Term) -> str:
    near = get_close_matches(term.qualifier, QUALIFIERS)
    hint = f"did you mean {near[0]}? " if near else ""
    return (
        f"{term.shown} begins with no qualifier: {hint}Allowed: {' '.join(QUALIFIERS)}. "
        'A name with one of : < > in it stands in double quotes: "user:42".'
    )
