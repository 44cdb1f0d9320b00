"""Which processes there are: workers and dispatchers, of which code, how busy, and when they were last seen."""

from __future__ import annotations

from typing import Any

from durable_objects.admin import display
from durable_objects.admin.overview.board import Board
from durable_objects.admin.processes import skew_of, work_of
from durable_objects.operations import processes
from durable_objects.operations.processes import Standing

#: Processes that are shown, those that live first; the list has all.
SHOWN = 30
_ORDER = ("silent", "alive", "ended")


def read(board: Board) -> dict[str, Any]:
    """Return the processes."""
    now, seen = board.now, processes.standing(board.delivery.beating, board.delivery.passing, board.now)
    found = [each for each in seen if each.state(now) != "ended"]
    found.sort(key=lambda each: _ORDER.index(each.state(now)))
    versions = {each.beat.code_version for each in found if each.beat is not None and each.state(now) == "alive"}
    return {
        "processes": [_process(board, each) for each in found[:SHOWN]],
        "more": max(len(found) - SHOWN, 0),
        "several_versions": len(versions) > 1,
        "show": board.url("durable_objects_process_changelist"),
        "workers": board.delivery.workers,
    }


def _process(board: Board, each: Standing) -> dict[str, Any]:
    beat, passes = each.beat, each.passes
    state = each.state(board.now)
    is_busy = beat is not None and state == "alive" and beat.busy_since is not None
    return {
        "name": each.name,
        "roles": each.roles,
        "state": state,
        "version": beat.code_version if beat is not None else "",
        "work": work_of(beat) if beat is not None else display.NOTHING,
        "longest": display.span(board.now - beat.busy_since) if is_busy and beat and beat.busy_since else "",
        "longest_url": board.url("durable_objects_object_change", beat.busy_with)
        if is_busy and beat is not None and beat.busy_with is not None
        else "",
        "taken": f"{beat.taken_a_minute:,}" if beat is not None and beat.threads is not None else display.NOTHING,
        "seen": board.moment(each.last_seen_at),
        "passed": board.moment(passes.last_pass_at) if passes is not None else {},
        "refused": display.span(board.now - passes.refused_since)
        if passes is not None and passes.refused_since
        else "",
        "skew": skew_of(beat) if beat is not None else display.NOTHING,
    }
