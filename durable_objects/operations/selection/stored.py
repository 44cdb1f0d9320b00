"""Search in what objects store: by key, and by a text within a value, but never within one that pages hide."""

from __future__ import annotations

import functools
import json
import operator
import re
from typing import Any, NamedTuple

from django.db.models import Max, Q, QuerySet

from durable_objects import kinds
from durable_objects.conf import engine
from durable_objects.operations.selection.text import Text
from durable_objects.tables import Entry, Object


class Within(NamedTuple):
    """Where a list searches for what no index has, so that this takes no longer than a fifth of a second: how many of
    the newest entries (about), or of the newest objects, are searched.
    """

    entries: int
    objects: int


IN_LISTS = Within(entries=1_000_000, objects=100_000)


def condition(key: Text | None, value: str | None) -> Q:
    """Return the condition of entries with this key and this text in their value."""
    found = Q() if key is None else key.condition("key")
    if value is not None:
        written = json.dumps(value, ensure_ascii=False)[1:-1]  # as it stands in the stored JSON
        found &= _is_shown() & Q(value__contains=written)
    return found


def newest(number: int | None) -> Q:
    """Return the condition of the newest entries, about this many of them; None: of all."""
    last = number and _entries().aggregate(last=Max("pk"))["last"]
    return Q(pk__gt=last - number) if last and number and last > number else Q()


def newest_objects(number: int | None, kind_id: int | None, at: str = "") -> Q:
    """Return the condition of the ``number`` newest objects (of this class), on rows that have the object's columns
    ``at``; None: of all.
    """
    if number is None:
        return Q()
    of_kind = Q() if kind_id is None else Q(kind=kind_id)
    rows = Object.objects.using(engine.DATABASE).filter(of_kind).order_by("-pk").values_list("pk", flat=True)
    last = rows[number - 1 : number].first()
    return Q() if last is None else Q(**{f"{at}pk__gte": last})


def objects_with(
    key: Text | None, value: str | None, kind_id: int | None = None, *, of_newest: int | None = None
) -> QuerySet[Any]:
    """Return the primary keys of the objects that store such an entry, of this class if one is given."""
    rows = _entries().filter(newest(of_newest), condition(key, value))
    rows = rows if kind_id is None else rows.filter(object__kind=kind_id)
    return rows.values("object_id")


def _entries() -> QuerySet[Entry]:
    return Entry.objects.using(engine.DATABASE).order_by()


def _is_shown() -> Q:
    """Return the condition of entries whose values pages show: by the ``masked_keys`` of their class."""
    classes = kinds.runnable()
    found = Q(object__kind__in=[kind for kind, model in classes.items() if not model.masked_keys])
    for kind, model in classes.items():
        if model.masked_keys:
            hidden = [Q(key__regex=_expression(pattern)) for pattern in model.masked_keys]
            found |= Q(object__kind=kind) & ~functools.reduce(operator.or_, hidden)
    return found


def _expression(pattern: str) -> str:
    r"""Return a file pattern as a regular expression that every database reads; a set (``[ab]``) is any character."""
    parts = re.split(r"(\*|\?|\[!?\]?[^\]]*\])", pattern)
    signs = {"*": ".*", "?": "."}
    written = [signs.get(part) or ("." if number % 2 else re.escape(part)) for number, part in enumerate(parts)]
    return rf"(?s)\A{''.join(written)}\Z"
