"""What an object's page reads: no count, join or value is larger than a page can bear."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.contrib.admin.models import LogEntry
from django.db.models.functions import Substr
from django.http import HttpRequest

from durable_objects.admin import charts, display
from durable_objects.admin.columns import Bytes
from durable_objects.admin.log import text_of
from durable_objects.alarms.lateness import stages_of
from durable_objects.conf import engine
from durable_objects.errors import InvalidSchedule
from durable_objects.models import as_handle
from durable_objects.operations.explain import Step, explain, steps_of
from durable_objects.operations.schedules import SHOWN, word_of
from durable_objects.recurrence.rules import Rule
from durable_objects.schedules import info_of
from durable_objects.tables import Alarm, AlarmRun, Entry, Object, Schedule

#: Runs on an object's page, and characters of one value there.
RUNS = 20
#: Of a schedule the next times, and of what people did the last things.
TIMES = 5
#: Colours of the line of a run.
LEGEND = [("dispatch", "dispatcher"), ("queue", "broker and queue"), ("lock", "lock"), ("handler", "handler")]
LOG = 10
VALUE_CHARACTERS = 2_000


class Asked(NamedTuple):
    """Which entries: at most ``most`` (0: none), from behind the key ``after``, those that begin with ``prefix``."""

    most: int
    after: str | None = None
    prefix: str = ""

    @classmethod
    def of(cls, request: HttpRequest, most: int) -> Asked:
        """Read it from an address. No key has a NUL: what follows one is ignored."""
        after, prefix = request.GET.get("after"), request.GET.get("prefix", "")
        return cls(most, after if after is None else after.partition("\0")[0], prefix.partition("\0")[0])


def page_of(row: Object, now: datetime, asked: Asked, *, runs: bool, schedules: bool, storage: bool) -> dict[str, Any]:
    """Read what an object's page shows besides its fields: the alarm and, if asked for, storage, runs, schedules.

    ``storage``: whether the user may see entries, in the log too.
    """
    entries, more = read_entries(row, asked) if asked.most else ([], False)
    handle = as_handle(row)
    last = _last_runs(row.pk) if runs else []
    explained = explain(row, now, newest=last if runs else None)
    slot = explained.slot
    return {
        "object_id": row.pk,
        "label": display.short(display.label(row.name), 30),
        "name": display.label(row.name),
        "class": display.class_of(row),
        "now": now,
        "countdown": _countdown(slot, explained.status.word),
        "log": [*_log(row, shows_storage=storage)],
        "explained": explained,
        "steps": [_read_step(step) for step in explained.steps] if runs else [],
        "slot": slot,
        "retries": handle.alarm_max_retries if handle else None,
        "times": alarm_times(slot, now) if slot else [],
        "last_error": display.gist(slot.last_error) if slot else "",
        "entries": entries,
        "value_characters": f"{VALUE_CHARACTERS:,}",
        "more_after": entries[-1]["key"] if more else None,
        "after": asked.after,
        "prefix": asked.prefix,
        "legend": LEGEND,
        "runs": [read_run(run, now) for run in last],
        "schedules": [read_schedule(each, now) for each in explained.schedules[:SHOWN]] if schedules else [],
        "no_runs": _without_runs(slot, explained.status.word),
        "chart": lateness_chart(last),
    }


def _countdown(slot: Alarm | None, word: str) -> dict[str, Any] | None:
    """Return the moment that a page counts down to, or up from; None where nothing is to come."""
    if slot is None or slot.wake_at is None or word not in {"armed", "retrying", "due", "overdue"}:
        return None
    return {
        "at": slot.wake_at,
        "verb": "Retries" if word == "retrying" else "Runs",
        "text": display.absolute(slot.wake_at),
    }


def _log(row: Object, *, shows_storage: bool) -> Iterator[dict[str, Any]]:
    """Yield the last things that people did to the object in admin."""
    log = LogEntry.objects.filter(content_type=row.kind_id, object_id=str(row.pk)).select_related("user")
    for entry in log.order_by("-action_time", "-pk")[:LOG]:
        text = text_of(entry, shows_storage=shows_storage) or entry.get_action_flag_display()
        yield {"at": display.absolute(entry.action_time), "who": entry.user.get_username(), "what": text}


def alarm_times(slot: Alarm, now: datetime) -> list[tuple[str, str]]:
    """Return the moments of an alarm's slot that are set, with their titles."""
    moments = [
        ("Planned for", slot.scheduled_at),
        ("Due", slot.due_at),
        ("Wake-up sent for", slot.wake_up_for),
        ("Leased until", slot.leased_until),
    ]
    return [(title, display.when(moment, now)) for title, moment in moments if moment is not None]


def lateness_chart(runs: list[AlarmRun]) -> charts.Chart | None:
    """Draw how late the last runs began, oldest first, on a logarithmic scale; None where all were equally late."""
    late = [max(run.started_at - run.due_at, timedelta(0)) for run in runs]
    if len({display.span(by) for by in late}) < 2:
        return None
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


def read_entries(row: Object, asked: Asked) -> tuple[list[dict[str, Any]], bool]:
    """Return the next entries by key, each with the beginning of its value, and whether there are more."""
    hidden = display.masked(row)
    rows = Entry.objects.using(engine.DATABASE).filter(object_id=row.pk).order_by("key")
    if asked.prefix:
        rows = rows.filter(key__startswith=asked.prefix)
    if asked.after is not None:
        rows = rows.filter(key__gt=asked.after)
    most = asked.most
    read = rows.values_list("pk", "key", Bytes("value"), Substr("value", 1, VALUE_CHARACTERS + 1))[: most + 1]
    found = [
        {
            "pk": pk,
            "key": key,
            "size": display.size(size),
            "hidden": hidden(key),
            "value": display.value(start, VALUE_CHARACTERS),
        }
        for pk, key, size, start in read
    ]
    return found[:most], len(found) > most


def read_run(run: AlarmRun, now: datetime) -> dict[str, Any]:
    """Return a run as a line of a table."""
    return {
        "run": run,
        "of": display.short(display.label(run.schedule)) if run.schedule else "alarm",
        "badge": display.badge(run.outcome),
        "started": display.when(run.started_at, now),
        "pk": run.pk,
        "line": line_of(run),
        "steps": read_steps(run),
        "late": display.span(run.started_at - run.due_at),
        "took": display.span(run.ended_at - run.started_at),
        "gist": display.gist(run.error),
    }


def read_steps(run: AlarmRun) -> list[dict[str, str]]:
    """Return the run's moments as lines of a table."""
    return [_read_step(step) for step in steps_of(run)]


def line_of(run: AlarmRun) -> charts.Chart:
    """Draw where the time of a run went: until it was sent, until a worker had it, until it had the object, at work."""
    took = stages_of(run)
    spans = [
        (took.dispatch, "dispatch", "waiting for a dispatcher"),
        (took.queue, "queue", "in the broker and a worker's queue"),
        (took.lock, "lock", "waiting for the object's lock"),
        (max(run.ended_at - run.started_at, timedelta(0)), "handler", "in the handler and in unlocked()"),
    ]
    titled = [(span.total_seconds(), kind, f"{display.span(span)} {text}") for span, kind, text in spans]
    label = "; ".join(title for seconds, _, title in titled if seconds) or "took no time that was measured"
    return charts.line(titled, label, width=200, height=12)


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
        "times": _times(row),
        "method": row.method,
        "badge": display.badge(word_of(row, now)),
        "due": display.to_come(row.due_at, now),
        "gist": display.gist(row.last_error),
    }


def _times(row: Schedule) -> list[str]:
    """Return when a schedule runs next."""
    try:
        return [display.absolute(at) for at in info_of(row).times(TIMES)]
    except InvalidSchedule:
        return []


def _last_runs(object_id: int) -> list[AlarmRun]:
    return list(AlarmRun.objects.using(engine.DATABASE).filter(object_id=object_id).order_by("-id")[:RUNS])
