"""What people do: operations under way, and the last things that somebody did, with their reasons."""

from __future__ import annotations

from collections import defaultdict
from functools import reduce
from operator import or_
from typing import Any

from django.contrib.admin.models import DELETION, LogEntry
from django.db.models import Model, Q, QuerySet

from durable_objects import kinds
from durable_objects.admin import display
from durable_objects.admin.log import text_of
from durable_objects.admin.overview.board import Board
from durable_objects.admin.permissions import for_reader, seen_among
from durable_objects.conf import engine
from durable_objects.operations import bulk_log, bulk_verbs
from durable_objects.tables import Alarm, Entry, Object, Operation, Pause, Schedule

#: How many of either are shown.
SHOWN = 10
#: Entries of the log that are looked at for those, where the user may see some objects only.
LOOKED_AT = 200
#: The engine's own rows that people act on, beside objects of all classes.
OWN = (Object, Alarm, Operation, Pause, Schedule)


def read(board: Board) -> dict[str, Any]:
    """Return the operations that are not done, and the last entries of the log that the user may see."""
    return {"operations": _operations(board), "entries": _entries(board)}


def _operations(board: Board) -> list[dict[str, Any]]:
    if not board.may("view_operation"):
        return []
    rows = Operation.objects.using(engine.DATABASE).exclude(state=Operation.State.DONE).order_by("-pk")[:SHOWN]
    return [
        {
            "text": f"{bulk_verbs.label_of(row.verb)}: {for_reader(board.admin_site, board.request, row).words}",
            "state": row.state,
            "by": row.by,
            "reason": row.reason,
            "done": row.done + row.skipped + row.failed,
            "of": f"{row.done + row.skipped + row.failed:,} of {row.total:,}",
            "total": max(row.total, 1),
            "url": board.url("durable_objects_operation_change", row.pk),
        }
        for row in rows
    ]


def _entries(board: Board) -> list[dict[str, Any]]:
    """Return what was done to objects, and to the engine's own rows, of the classes that the user may view."""
    seen: dict[str, list[str]] = defaultdict(list)
    models: list[type[Model]] = [*kinds.classes(), *OWN]
    for model in models:
        if _may_view(board, model):
            seen[model._meta.app_label].append(str(model._meta.model_name))
    of_app = [Q(content_type__app_label=app, content_type__model__in=names) for app, names in seen.items()]
    rows = LogEntry.objects.filter(reduce(or_, of_app, Q(pk__in=[])))
    if _may_view(board, Operation):  # it has an entry of its own, and would fill the list with those of its objects
        rows = rows.exclude(bulk_log.OF_OPERATIONS)
    storage = _may_view(board, Entry)
    rows = rows.select_related("user", "content_type").order_by("-action_time")
    return [
        {
            "at": board.moment(row.action_time),
            "by": row.user.get_username(),
            "what": text_of(row, shows_storage=storage),
            "on": display.short(display.label(row.object_repr)),
            "class": _class(row),
            "url": _page(board, row),
        }
        for row in _seen(board, rows)
    ]


def _seen(board: Board, rows: QuerySet[LogEntry]) -> list[LogEntry]:
    """Return the first of them, without those about objects that the admin of their class hides from the user."""
    if not board.in_part:
        return list(rows[:SHOWN])
    newest = list(rows[:LOOKED_AT])
    about = {int(row.object_id or 0) for row in newest if row.content_type_id in board.in_part}
    seen = seen_among(board.admin_site, board.request, about)
    shown = [row for row in newest if row.content_type_id not in board.in_part or int(row.object_id or 0) in seen]
    return shown[:SHOWN]


def _may_view(board: Board, model: Any) -> bool:
    return bool(board.request.user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}"))


def _class(row: LogEntry) -> str:
    model = row.content_type.model_class() if row.content_type else None
    return model._meta.label if model else ""


def _page(board: Board, row: LogEntry) -> str:
    model = row.content_type.model_class() if row.content_type else None
    if model is None or row.content_type is None or row.object_id is None or row.action_flag == DELETION:
        return ""
    if kinds.class_of(row.content_type) is not None:
        return board.url("durable_objects_object_change", row.object_id)
    return board.url(f"{model._meta.app_label}_{model._meta.model_name}_change", row.object_id)
