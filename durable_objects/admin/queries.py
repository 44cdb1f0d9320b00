"""What an object's page reads: no count, join or value is larger than a page can bear."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models.functions import Substr

from durable_objects.admin import charts, display
from durable_objects.admin.columns import Bytes
from durable_objects.conf import engine
from durable_objects.models import as_handle
from durable_objects.operations.explain import Step, explain
from durable_objects.operations.schedules import word_of
from durable_objects.recurrence.rules import Rule
from durable_objects.tables import Alarm, AlarmRun, Entry, Object, Schedule

#: Entries and runs on an object's page, and characters of one value there.
ENTRIES = 200
RUNS = 20
SCHEDULES = 20
VALUE_CHARACTERS = 2_000


def page_of(
    row: Object, now: datetime, after: str | None, *, storage: bool, runs: bool, schedules: bool
) -> dict[str, Any]:
    """Read what an object's page shows besides its fields: the alarm and, if asked for, storage, runs, schedules.

    Entries come ``ENTRIES`` at a time, from behind the key ``after``. No key has a NUL: what follows one is ignored.
    """
    slot = Alarm.objects.using(engine.DATABASE).filter(pk=row.pk).first()
    after = after if after is None else after.partition("\0")[0]
    entries, more = read_entries(row, after) if storage else ([], False)
    handle = as_handle(row)
    explained, last = explain(row, now), _last_runs(row.pk) if runs else []
    return {
        "object_id": row.pk,
        "label": display.short(display.label(row.name), 30),
        "explained": explained,
        "steps": [_read_step(step) for step in explained.steps] if runs else [],
        "slot": slot,
        "retries": handle.alarm_max_retries if handle else None,
        "times": alarm_times(slot, now) if slot else [],
        "last_error": display.gist(slot.last_error) if slot else "",
        "entries": entries,
        "more_after": entries[-1]["key"] if more else None,
        "after": after,
        "runs": [read_run(run, now) for run in last],
        "schedules": [read_schedule(each, now) for each in _schedules(row.pk)] if schedules else [],
        "no_runs": _without_runs(slot, explained.status.word),
        "chart": lateness_chart(last) if len(last) > 1 else None,
    }


def alarm_times(slot: Alarm, now: datetime) -> list[tuple[str, str]]:
    """Return the moments of an alarm's slot that are set, with their titles."""
    moments = [
        ("Planned for", slot.scheduled_at),
        ("Due", slot.due_at),
        ("Wake-up sent for", slot.wake_up_for),
        ("Leased until", slot.leased_until),
    ]
    return [(title, display.when(moment, now)) for title, moment in moments if moment is not None]


def lateness_chart(runs: list[AlarmRun]) -> charts.Chart:
    """Draw how late the last runs began, oldest first, on a logarithmic scale."""
    late = [max(run.started_at - run.due_at, timedelta(0)) for run in runs]
    heights = [
        (
            charts.magnitude(by.total_seconds()),
            run.outcome,
            f"{display.absolute(run.started_at)}: late by {display.span(by)}",
        )
        for run, by in zip(runs, late, strict=True)
    ]
    label = f"Lateness of the last {len(runs)} runs: {display.span(min(late))} to {display.span(max(late))}"
    return charts.bars(heights[::-1], label, slots=RUNS, width=10 * RUNS, height=40)


def read_entries(row: Object, after: str | None) -> tuple[list[dict[str, Any]], bool]:
    """Return the next entries by key, each with the beginning of its value, and whether there are more."""
    hidden = display.masked(row)
    rows = Entry.objects.using(engine.DATABASE).filter(object_id=row.pk).order_by("key")
    if after is not None:
        rows = rows.filter(key__gt=after)
    read = rows.values_list("pk", "key", Bytes("value"), Substr("value", 1, VALUE_CHARACTERS + 1))[: ENTRIES + 1]
    found = [
        {"pk": pk, "key": key, "size": size, "hidden": hidden(key), "value": display.value(start, VALUE_CHARACTERS)}
        for pk, key, size, start in read
    ]
    return found[:ENTRIES], len(found) > ENTRIES


def read_run(run: AlarmRun, now: datetime) -> dict[str, Any]:
    """Return a run as a line of a table."""
    return {
        "run": run,
        "of": display.short(display.label(run.schedule)) if run.schedule else "alarm",
        "badge": display.badge(run.outcome),
        "started": display.when(run.started_at, now),
        "late": display.span(run.started_at - run.due_at),
        "took": display.span(run.ended_at - run.started_at),
        "gist": display.gist(run.error),
    }


def _read_step(step: Step) -> dict[str, str]:
    took = display.NOTHING if step.took is None else display.span(step.took)
    return {"what": step.what, "at": display.absolute(step.at, "milliseconds"), "took": took, "share": step.share}


def _without_runs(slot: Alarm | None, state: str) -> str:
    """Return the text in place of the last runs where none is on record; a run is recorded when it ends."""
    if state == "running":
        return "The first run is under way: it is listed here when it ends."
    if slot is not None and slot.fence:  # each run that starts takes the next one
        return "No run that ended is on record."
    return "No run has ended yet." if state in {"due", "overdue"} else "It has not run yet."


def read_schedule(row: Schedule, now: datetime) -> dict[str, Any]:
    """Return a schedule as a line of a table."""
    return {
        "pk": row.pk,
        "name": display.short(display.label(row.name)),
        "when": Rule.from_text(row.rule).describe(),
        "method": row.method,
        "badge": display.badge(word_of(row, now)),
        "due": display.to_come(row.due_at, now),
        "gist": display.gist(row.last_error),
    }


def _schedules(object_id: int) -> list[Schedule]:
    rows = Schedule.objects.using(engine.DATABASE).filter(object_id=object_id)
    return list(rows.order_by("due_at", "name")[:SCHEDULES])


def _last_runs(object_id: int) -> list[AlarmRun]:
    return list(AlarmRun.objects.using(engine.DATABASE).filter(object_id=object_id).order_by("-id")[:RUNS])
