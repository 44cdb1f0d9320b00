"""The state of batchers, batches and upstreams for pages, read for a whole list at once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Subquery
from django.utils.html import format_html
from django.utils.safestring import SafeString

from batcher.queue import Queue, queue_lengths
from batcher.tables import Batch, Upstream
from durable_objects.admin import NOTHING, badge, to_come, when
from durable_objects.formatting import absolute, gist, masked, number_of, relative, short, span
from durable_objects.models import Object

#: Batches that a batcher's page lists.
BATCHES = 10
#: Of the items that wait it lists the first: at most 20, of about a megabyte in all, 200 characters of each.
WAITING, WAITING_BYTES, ITEM_CHARACTERS = 20, 1_000_000, 200


@dataclass(frozen=True)
class BatcherStatus:
    """How many items wait, and the batch that was sealed last (None: none is on record)."""

    queued: int
    last: Batch | None


def statuses(rows: Iterable[Object]) -> dict[int, BatcherStatus]:
    """Return the state of each of these batchers by primary key, in three queries however many there are."""
    ids = [row.pk for row in rows]
    newest = Batch.objects.filter(batcher_id=OuterRef("pk")).order_by("-sealed_at").values("pk")[:1]
    keys = dict(Object.objects.filter(pk__in=ids).values_list("pk", Subquery(newest)))
    batches = Batch.objects.defer("items_json").in_bulk([key for key in keys.values() if key is not None])
    waiting = queue_lengths(ids)
    return {pk: BatcherStatus(waiting.get(pk, 0), batches.get(keys.get(pk))) for pk in ids}


def newest_batches(object_id: int) -> tuple[list[Batch], bool]:
    """Return the batches of one batcher that its page lists, the newest first, without their items; and whether any
    batch of it is to be replayed. One query.
    """
    its = Batch.objects.of(object_id)
    newest = its.annotate(any_to_replay=Exists(its.to_replay(unknown=False)))
    found = list(newest.defer("items_json").order_by("-sealed_at")[:BATCHES])
    return found, any(batch.any_to_replay for batch in found)  # type: ignore[attr-defined]  # annotated


def waiting_items(queue: Queue, row: Object, now: datetime) -> list[dict[str, Any]]:
    """Return the items that a batcher's page lists, the oldest first; those under keys that nobody may see, hidden."""
    hidden = masked(row)
    return [
        {
            "number": f"{item.number:,}",
            "key": item.key,
            "came": when(item.came_at, now),
            "text": "" if hidden(item.key) else short(_as_json(item.item), ITEM_CHARACTERS),
            "hidden": hidden(item.key),
        }
        for item in queue.first(WAITING, size=WAITING_BYTES)
    ]


def last_answer(batch: Batch | None, now: datetime) -> SafeString | str:
    """Show a batch in a line: status, answer, when it ended or, if it has not, was sealed."""
    if batch is None:
        return NOTHING
    parts = [answer_of(batch), relative(batch.finished_at or batch.sealed_at, now)]
    return format_html("{} {}", badge(batch.status), ", ".join(filter(None, parts)))


def breaker(upstream: Upstream | None, now: datetime, acts_at: datetime | None) -> dict[str, Any] | None:
    """Describe a circuit breaker that is not closed; None where posts go. ``acts_at``: see ``next_probe``."""
    if upstream is None or upstream.state == Upstream.State.CLOSED:
        return None
    sentence = (
        f"The circuit breaker of {upstream.origin} is {upstream.state.replace('_', ' ')}: "
        f"{number_of(upstream.failures, 'failure')} in a row, the last: {upstream.last_error}. "
        f"Batches wait, no try is counted. The next probe: {next_probe(upstream, now, acts_at)}."
    )
    return {"badge": breaker_badge(upstream), "sentence": sentence}


def breaker_badge(upstream: Upstream) -> SafeString:
    """Show a breaker's state: that of an open one in the colour of trouble, and not of what runs."""
    shape = '<span class="do-badge do-breaker-{}">{}</span>'
    return format_html(shape, upstream.state, upstream.state.replace("_", " "))


def next_probe(upstream: Upstream, now: datetime, acts_at: datetime | None = None) -> str:
    """Say when the next post goes to an upstream whose breaker is open: with a batch's next try after the pause.

    ``acts_at`` is the time of that try where one batcher is asked about.
    """
    may_go = upstream.retry_at or now
    if upstream.state == Upstream.State.HALF_OPEN and may_go > now:
        return f"under way; it counts as lost {relative(may_go, now)}"
    if acts_at is not None:
        at = max(may_go, acts_at, now)
        return f"{relative(at, now)}, with this batcher's next try ({absolute(at)})"
    if may_go > now:
        return f"{relative(may_go, now)} at the earliest ({absolute(may_go)}), with the next batch that is tried then"
    return "with the next batch that is tried"


def answer_of(batch: Batch) -> str:
    """Shorten the upstream's last answer: its status, or why there was none."""
    return str(batch.status_code) if batch.status_code is not None else short(gist(batch.answer))


def line(batch: Batch, now: datetime) -> dict[str, Any]:
    """Return a batch as a line of a table."""
    return {
        "batch": batch,
        "badge": badge(batch.status),
        "answer": answer_of(batch) or NOTHING,
        "sealed": when(batch.sealed_at, now),
        "next_try": to_come(batch.next_try_at, now),
        "took": span(batch.finished_at - batch.sealed_at) if batch.finished_at else NOTHING,
    }


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
