"""How it stands, in one sentence, with what to do as a button; and what else needs a look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from durable_objects import conditions
from durable_objects.admin.display import span
from durable_objects.admin.overview.board import KEPT, Board, kept
from durable_objects.kinds import label_of
from durable_objects.operations import metrics, waiting

#: A plan is offered where at least this many are late.
MANY_LATE = 1_000


@dataclass(frozen=True)
class Action:
    """A button: what it says, and where it leads."""

    label: str
    url: str


@dataclass(frozen=True)
class Statement:
    """A sentence on how it stands: ``bad``, ``warn`` or ``fine``; ``how`` is more to read on what to do."""

    kind: str
    text: str
    actions: list[Action] = field(default_factory=list)
    how: str = ""


def read(board: Board) -> dict[str, Any]:
    """Return the sentence, and the others."""
    first, *others = statements(board)
    return {"first": first, "others": others}


def statements(board: Board) -> list[Statement]:
    """Return what there is to say, what is worst first; that all is well if there is nothing."""
    found = [*_late(board), *_nobody(board), *_left_behind(board), *_conditions(board), *_aside(board)]
    shown = [
        Statement(each.kind, each.text, [action for action in each.actions if action.url], each.how) for each in found
    ]
    return sorted(shown, key=lambda each: each.kind != "bad") or [_fine(board)]


def _late(board: Board) -> Iterator[Statement]:
    late = board.line.late
    if not late:
        return
    number = sum(each.number for each in late)
    of = f" of {label_of(late[0].kind_id)}" if len(late) == 1 else ""
    are = "alarm is" if number == 1 else "alarms are"
    by = span(board.now - late[0].oldest)
    causes = " ".join(cause.text for cause in board.causes) or board.why_late.get(late[0].kind_id, "")
    text = f"{metrics.counted(number, waiting.MOST)} {are.replace(' ', f'{of} ', 1)} late, the oldest by {by}. {causes}"
    actions = [*_remedies(board), Action("Show them", board.alarms(state="overdue"))]
    if number >= MANY_LATE and board.may_do("spread"):
        actions.append(Action("Plan how they run…", board.url("durable_objects_operation_outage")))
    yield Statement("bad", text, actions, _how(board))


def _nobody(board: Board) -> Iterator[Statement]:
    """Say that nobody dispatches or works before anything is late by it, if something is set."""
    awaited = any(board.counts[state] for state in ("due", "hour", "day"))
    if board.line.late or not board.causes or not awaited:
        return
    serious = [cause for cause in board.causes if cause.code != "busy"]
    if serious:
        yield Statement("bad", " ".join(cause.text for cause in serious), [*_remedies(board)], _how(board))


def _remedies(board: Board) -> Iterator[Action]:
    for cause in board.causes:
        if cause.code == "busy" and cause.object_id is not None:
            yield Action("Show the longest", board.url("durable_objects_object_change", cause.object_id))
        elif cause.code in {"busy", "workers"}:
            yield Action("Show the processes", "#do-processes")


def _how(board: Board) -> str:
    """Return how a dispatcher is started, where none passes."""
    found = any(cause.code == "dispatcher" for cause in board.causes)
    return kept("advice", KEPT, lambda: board.delivery.advice) if found else ""


def _left_behind(board: Board) -> Iterator[Statement]:
    if number := board.counts["left_behind"]:
        text = f"Runs that are gone still have their leases: {metrics.counted(number)}. The next pass takes them over."
        yield Statement("bad", text, [Action("Show the processes", "#do-processes")])


def _conditions(board: Board) -> Iterator[Statement]:
    """Report what apps find: open circuit breakers, for one."""

    def ask() -> list[str]:
        asked = [each for each in conditions.conditions() if "." in each.name]
        found = [conditions.ask(each.name, board.now) for each in asked]
        return [" ".join([each.text, *_some([*each.subjects.values()])]) for each in found if each is not None]

    for text in kept("conditions", KEPT, ask):
        yield Statement("warn", text)


def _some(subjects: list[str]) -> list[str]:
    more = [f"and {len(subjects) - 3:,} more"] if len(subjects) > 3 else []
    return ["; ".join([*subjects[:3], *more]) + "."] if subjects else []


def _aside(board: Board) -> Iterator[Statement]:
    counts = board.counts
    if number := counts["dead"]:
        until = "does not run until it is revived" if number == 1 else "do not run until they are revived"
        text = f"{_alarms(number)} dead, and {until}."
        yield Statement("warn", text, [Action("By error", "#do-dead"), Action("Show them", board.alarms(state="dead"))])
    if number := counts["dead_schedules"]:
        text = f"Schedules with an occurrence that used up its retries: {metrics.counted(number)}."
        yield Statement(
            "warn", text, [Action("Show them", board.url("durable_objects_schedule_changelist", state="dead"))]
        )
    if number := counts["parked"]:
        text = f"{_alarms(number)} parked: this code does not have their class."
        yield Statement("warn", text, [Action("Show them", board.alarms(state="parked"))])
    pauses = Action("Show the pauses", board.url("durable_objects_pause_changelist"))
    for text in board.why_paused.values():
        yield Statement("warn", text, [pauses])
    if number := len(board.aside.paused.objects):
        yield Statement("warn", f"Objects that are paused one by one: {number:,}.", [pauses])


def _alarms(number: int) -> str:
    return "1 alarm is" if number == 1 else f"{metrics.counted(number)} alarms are"


def _fine(board: Board) -> Statement:
    workers = board.delivery.workers
    free = f" {workers.threads - workers.busy:,} of {workers.threads:,} threads are free." if workers.threads else ""
    return Statement(
        "fine", f"Nothing is late, and a dispatcher passes.{free}" if _passes(board) else "No alarm is set."
    )


def _passes(board: Board) -> bool:
    return not any(cause.code in {"dispatcher", "broker"} for cause in board.causes)
