"""How a cleaner is shown on its page: badge, facts, pictures, a line for each cleanup."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from cleaner.admin.sparkline import bars
from cleaner.cleanup import Counted
from cleaner.status import CleanerStatus, runs_of
from cleaner.tables import CleanerRun
from durable_objects import durations
from durable_objects.admin import NOTHING, badge, to_come, when
from durable_objects.formatting import absolute, gist, label, relative, short, span

#: Cleanups that a page draws, and lists.
DRAWN, LISTED = 30, 12


def word_of(status: CleanerStatus, now: datetime) -> SafeString:
    """Show the state in a word."""
    if status.progress.stopped:
        return badge("stopped")
    if status.warnings(now):
        return badge("behind")
    return badge("running" if status.under_way else "well")


def sentence(status: CleanerStatus, now: datetime) -> str:
    """Say what it does next."""
    settings = status.settings
    what = "entries of its own storage" if settings.target == "storage" else f"rows by {settings.target}"
    deletes = f"Deletes {what} older than {durations.write(settings.max_age_in_force)}"
    if status.progress.stopped:
        return f"Stopped. {deletes} when it is started or run by hand."
    return f"{deletes}, every {durations.write(settings.interval_in_force)}."


def facts(status: CleanerStatus, now: datetime) -> list[tuple[str, Any]]:
    """Return the figures of its card, by title."""
    last, planned, under_way = status.last, status.progress.planned_at, status.under_way
    shown: list[tuple[str, Any]] = [("Next cleanup", to_come(planned, now))]
    if under_way is not None:
        shown += [
            ("Under way since", when(under_way.started_at, now)),
            ("Removed so far", f"{under_way.removed:,} of {under_way.examined:,} examined"),
        ]
    if last is not None:
        shown += [
            ("Last cleanup", when(last.started_at, now)),
            ("Removed", f"{last.removed:,} of {last.examined:,} examined"),
            ("Expired rows left", remaining(last)),
            ("Oldest left", when(last.oldest_left, now)),
        ]
    return shown


def page_of(object_id: int, status: CleanerStatus, now: datetime) -> dict[str, Any]:
    """Return what the page of a cleaner shows of its cleanups."""
    runs = runs_of(object_id, DRAWN)
    figures = [(run.removed, f"{run.removed:,} removed, {absolute(run.started_at)}") for run in reversed(runs)]
    highest = max((run.removed for run in runs), default=0)
    return {
        "badge": word_of(status, now),
        "sentence": sentence(status, now),
        "warnings": status.warnings(now),
        "facts": facts(status, now),
        "drawn": len(runs),
        "highest": f"{highest:,}",
        "first": absolute(runs[-1].started_at) if runs else "",
        "last": absolute(runs[0].started_at) if runs else "",
        "bars": bars(figures, f"Removed by the last {len(runs)} cleanups: at most {highest:,}") if runs[1:] else "",
        "runs": [_line(run, now) for run in runs[:LISTED]],
    }


def counted(found: Counted) -> str:
    """Say what a dry run has counted, and which rows would be the first to go."""
    there = "" if found.through else " first (there was no time for more)"
    text = f"{found.expired:,} of the{there} {found.examined:,} rows would be deleted"
    rows = ", ".join(
        f"{short(label(row.key))} of {absolute(row.since) if row.since else 'long ago'}" for row in found.sample
    )
    more = " …" if found.expired > len(found.sample) else ""
    return f"{text}: {rows}{more}" if rows else text


def in_list(status: CleanerStatus, now: datetime) -> SafeString:
    """Show the state for a list: a word, what it cleans, and its warnings."""
    notes = format_html_join("", '<div class="cleaner-note">{}</div>', ([text] for text in status.warnings(now)))
    return format_html('{} <span class="do-aside">{}</span>{}', word_of(status, now), status.settings.target, notes)


def last_run(status: CleanerStatus, now: datetime) -> SafeString | str:
    """Show for a list what the last cleanup removed, when it was, and what it left."""
    last = status.last
    if last is None:
        return NOTHING
    left = "" if last.remaining is None else f"{last.remaining:,}+ left" if last.remaining else "0 left"
    shape = '<div class="cleaner-when">{}<span class="do-aside">{}</span><span class="do-aside">{}</span></div>'
    return format_html(shape, f"{last.removed:,}", relative(last.started_at, now), left)


def remaining(run: CleanerRun) -> str:
    """Show how many expired rows a cleanup left, as far as it has counted."""
    if run.remaining is None:
        return NOTHING
    return f"{run.remaining:,} or more" if run.remaining else "0"


def _line(run: CleanerRun, now: datetime) -> dict[str, Any]:
    return {
        "run": run,
        "started": when(run.started_at, now),
        "kind": "planned" if run.planned_at else "by hand",
        "removed": f"{run.removed:,}",
        "examined": f"{run.examined:,}",
        "remaining": remaining(run),
        "oldest": when(run.oldest_left, now),
        "took": span(run.ended_at - run.started_at) or "0 s" if run.ended_at else badge("open"),
        "chunks": f"{run.chunks:,}",
        "longest": f"longest {span(run.longest_chunk)}" if run.longest_chunk else "",
        "error": gist(run.error) or NOTHING,
    }
