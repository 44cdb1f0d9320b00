"""Dead alarms by class and error, each group with what can be done to all of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from durable_objects.admin.overview.board import Board, kept
from durable_objects.kinds import label_of
from durable_objects.operations import dead_letters, metrics
from durable_objects.operations.dead_letters import Group

KEPT = timedelta(seconds=50)
#: In place of an error, which may be of an object that the admin of its class hides.
HIDDEN = "one error: the list has what it says of the objects that you may see"
#: Groups that are shown; the list has all.
SHOWN = 12


def read(board: Board) -> dict[str, Any]:
    """Return the largest groups."""
    found = _kept(board) if board.counts["dead"] else dead_letters.Dead(0, 0, [])
    return {
        "number": metrics.counted(found.number, dead_letters.COUNTED_TO),
        "of_error": found.kinds_of_error,
        "groups": [_group(board, group) for group in found.groups[:SHOWN]],
        "more": max(found.kinds_of_error - SHOWN, 0),
        "show": board.alarms(state="dead"),
    }


def _kept(board: Board) -> dead_letters.Dead:
    """Return what was read a moment ago, as long as there are as many."""
    number = board.counts["dead"]
    return kept(f"dead_{number}", KEPT, lambda: dead_letters.look(board.now))


def _group(board: Board, group: Group) -> dict[str, Any]:
    selection = f"class:{label_of(group.kind_id)} state:dead"
    if group.error_group:
        selection += f" error:{group.error_group}"
    return {
        "class": label_of(group.kind_id),
        "headline": HIDDEN if group.kind_id in board.in_part else group.headline or "no error is on record",
        "number": f"{group.number:,}",
        "first": board.moment(group.first),
        "last": board.moment(group.last),
        "show": board.alarms(q=selection),
        "revive": board.operation("revive", selection, group.kind_id),
        "discard": board.operation("discard", selection, group.kind_id),
    }
