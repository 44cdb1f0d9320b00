"""What is due and waits, a line for each class and what it waits for; and what keeps all of them waiting."""

from __future__ import annotations

from typing import Any

from durable_objects.admin import display
from durable_objects.admin.overview.board import Board
from durable_objects.kinds import label_of
from durable_objects.operations import metrics, waiting
from durable_objects.operations.selection import Selection

#: What a reason is called, and in which colour.
REASONS = {
    "late": ("late", "overdue"),
    "due": ("just due", "due"),
    "paused": ("paused", "paused"),
    "limited": ("waits for its limits", "limited"),
    "parked": ("parked", "parked"),
}


def read(board: Board) -> dict[str, Any]:
    """Return the lines, those that are late first."""
    order = list(REASONS)
    lines = [_line(board, each) for each in sorted(board.line.waits, key=lambda w: order.index(w.reason))]
    return {"lines": lines, "capped": board.line.capped, "most": f"{waiting.MOST:,}"}


def _line(board: Board, waits: waiting.Waits) -> dict[str, Any]:
    word, kind = REASONS[waits.reason]
    of_class, is_late = {"class": waits.kind_id}, waits.reason == "late"
    has_alarms = waits.by_schedule < waits.number
    state = {"late": "overdue", "due": "due"}.get(waits.reason, waits.reason)
    return {
        "class": label_of(waits.kind_id),
        "number": metrics.counted(waits.number, waiting.MOST),
        "oldest": display.span(board.now - waits.oldest),
        "word": word,
        "badge": kind,
        "causes": _causes(board, waits),
        "show": board.alarms(state=state, **of_class),
        "run": board.operation("run", _selection(waits), waits.kind_id) if is_late and has_alarms else "",
        "schedules": board.url("durable_objects_schedule_changelist", state="due", **of_class)
        if waits.by_schedule
        else "",
    }


def _causes(board: Board, waits: waiting.Waits) -> list[dict[str, str]]:
    if waits.reason == "late":
        found = [{"text": cause.text, "url": _at(board, cause)} for cause in board.causes]
        return found or [{"text": board.why_late.get(waits.kind_id, ""), "url": ""}]
    if waits.reason == "paused":
        texts = [text for key, text in board.why_paused.items() if key in {None, waits.kind_id}]
        return [{"text": text, "url": ""} for text in texts or ["These objects are paused one by one."]]
    if waits.reason == "limited":
        return [{"text": "As many of its class run, or start in a second, as its limits allow.", "url": ""}]
    if waits.reason == "parked":
        return [{"text": "This code does not have the class.", "url": ""}]
    return []


def _at(board: Board, cause: waiting.Cause) -> str:
    return "" if cause.object_id is None else board.url("durable_objects_object_change", cause.object_id)


def _selection(waits: waiting.Waits) -> str:
    return str(Selection.parse(f"class:{label_of(waits.kind_id)} state:overdue"))
