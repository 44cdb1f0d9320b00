"""Whether posts go to an upstream at all: one circuit breaker for all its batchers, in all processes, in one row.

Only this module writes upstreams. While a breaker is closed and nothing has failed, ``ask`` and ``record`` are reads,
but for the row that an upstream gets with its first answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import DatabaseError, transaction

from batcher.conf import defaults
from batcher.responses import Answer
from batcher.tables import Batch, BatcherSettings, Upstream
from batcher.upstream import origin_of
from durable_objects import now as database_now
from durable_objects.logs import get_logger
from durable_objects.models import Object

logger = get_logger("batcher")

#: When to ask again while a probe is under way.
LOOK_AGAIN = timedelta(seconds=5)
#: A probe without a result this long after the post's own deadline was lost with its process.
LOST_AFTER_DEADLINE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(hours=1)
#: Batches that are looked through for one of an upstream.
LOOKED_AT = 500


@dataclass(frozen=True)
class Gate:
    """What an upstream's breaker says: to wait until then, or (None) to post, perhaps as the one probe."""

    origin: str = ""
    wait_until: datetime | None = None
    is_probe: bool = False


def of(url: str) -> Upstream | None:
    """Return the breaker of the upstream at this address; None before its first answer or failure."""
    return Upstream.objects.filter(pk=origin_of(url)).first() if url else None


def ask(url: str, now: datetime) -> Gate:
    """Return whether a try may begin. Call it in the batcher's turn: a probe is taken only if that commits."""
    if not url or not defaults.BREAKER_FAILURES:
        return Gate()
    origin = origin_of(url)
    row = Upstream.objects.filter(pk=origin).first()
    if row is None or row.state == Upstream.State.CLOSED or row.retry_at is None:
        return Gate(origin)
    if row.retry_at <= now:
        taken = Upstream.objects.filter(pk=origin, retry_at__lte=now).exclude(state=Upstream.State.CLOSED)
        lost_at = now + defaults.DEADLINE + LOST_AFTER_DEADLINE
        if taken.update(state=Upstream.State.HALF_OPEN, retry_at=lost_at):
            return Gate(origin, is_probe=True)
        return Gate(origin, wait_until=now + LOOK_AGAIN)
    if row.state == Upstream.State.HALF_OPEN:
        return Gate(origin, wait_until=min(row.retry_at, now + LOOK_AGAIN))
    return Gate(origin, wait_until=row.retry_at)


def end_pause(url: str, now: datetime) -> None:
    """Let the next try through now, as the probe, because a person asked. A probe under way is waited for."""
    if url and defaults.BREAKER_FAILURES:
        Upstream.objects.filter(pk=origin_of(url), state=Upstream.State.OPEN).update(retry_at=now)


def waiting_for(origin: str) -> Object | None:
    """Return a batcher that has a batch for this upstream; None where none is among the first ``LOOKED_AT``."""
    unfinished = Batch.objects.unfinished().order_by("batcher", "next_try_at")
    ids = dict.fromkeys(unfinished.values_list("batcher_id", flat=True)[:LOOKED_AT])
    own = dict(BatcherSettings.objects.filter(pk__in=ids).values_list("pk", "upstream_url"))
    urls = {pk: defaults.UPSTREAM_URL if own.get(pk) is None else own[pk] for pk in ids}
    first = next((pk for pk, url in urls.items() if url and origin_of(url) == origin), None)
    return None if first is None else Object.objects.get(pk=first)


def record(gate: Gate, answer: Answer) -> None:
    """Record the result of a try that was let through. Call it outside of any turn; it has its own transaction.

    A database error is only logged: what became of the batch is still to be recorded.
    """
    is_alive = answer.status_code is not None and not answer.is_down
    if not gate.origin or not (answer.is_down or is_alive):
        return
    try:
        if is_alive:
            _succeeded(gate)
        else:
            _failed(gate, answer)
    except DatabaseError:
        logger.warning("could not record a try with the circuit breaker of %s", gate.origin, exc_info=True)


def _succeeded(gate: Gate) -> None:
    row = Upstream.objects.filter(pk=gate.origin).first()
    if row is None:
        Upstream.objects.bulk_create([Upstream(pk=gate.origin)], ignore_conflicts=True)
        return
    if row.state == Upstream.State.CLOSED and not row.failures:
        return
    closed = Upstream.objects.filter(pk=gate.origin)
    closed.update(state=Upstream.State.CLOSED, failures=0, opened_at=None, retry_at=None)
    if row.state != Upstream.State.CLOSED:
        logger.info("upstream %s answers again: its circuit breaker is closed", gate.origin)


def _failed(gate: Gate, answer: Answer) -> None:
    now = database_now()
    with transaction.atomic():
        Upstream.objects.get_or_create(pk=gate.origin)
        row = Upstream.objects.select_for_update().get(pk=gate.origin)
        was_closed = row.state == Upstream.State.CLOSED
        if not was_closed and not gate.is_probe:
            return  # a post that began before the breaker opened: it says nothing new
        row.failures += 1
        row.last_error = (str(answer.status_code) if answer.status_code else answer.text)[:200]
        if row.failures >= defaults.BREAKER_FAILURES:
            row.state, row.opened_at = Upstream.State.OPEN, row.opened_at or now
            row.retry_at = now + _pause(row.failures, answer)
        row.save()
    if was_closed and row.state == Upstream.State.OPEN:
        logger.warning(
            "upstream %s failed %s times in a row (%s): its circuit breaker is open until %s",
            gate.origin, row.failures, row.last_error, row.retry_at,
        )  # fmt: skip


def _pause(failures: int, answer: Answer) -> timedelta:
    """Return the pause: doubled with each failed probe, at least what the upstream asked for, at most an hour."""
    doubled = defaults.BREAKER_PAUSE * (1 << min(failures - defaults.BREAKER_FAILURES, 20))
    pause: timedelta = min(doubled, defaults.BREAKER_PAUSE_AT_MOST)
    return max(pause, min(answer.retry_after or pause, LONGEST_PAUSE))
