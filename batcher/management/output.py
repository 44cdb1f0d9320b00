"""What the command prints about batchers and batches: as figures, and as lines for people."""

from __future__ import annotations

import shlex
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from batcher.models import Batch, Batcher, Upstream
from batcher.tables import BatchQuerySet
from durable_objects.escaping import one_line
from durable_objects.formatting import gist, label
from durable_objects.validation import show

#: Batches that are listed at most.
SHOWN = 20


def state(batcher: Batcher) -> dict[str, Any]:
    """Return how many items wait, and when the batcher acts next."""
    return {"batcher": batcher.name, "queued": batcher.queued(), "alarm": _iso(batcher.get_alarm_time())}


def columns(figures: dict[str, Any]) -> tuple[str, ...]:
    """Return the state of a batcher as a line of the list: when it acts next, how many items wait, its name."""
    return figures["alarm"] or "-", str(figures["queued"]), label(figures["batcher"])


def use(batcher: Batcher) -> dict[str, Any]:
    """Return whether the batcher was ever used, with a hint if not: its name may be misspelt."""
    if Batcher.objects.filter(name=batcher.name).exists():
        return {"used": True}
    hint = f"batcher {show(batcher.name)} was never used; manage.py batcher list shows those that were"
    return {"used": False, "hint": hint}


def set_aside(name: str, batches: QuerySet[Batch]) -> dict[str, Any]:
    """Return when these set-aside batches, up to ``SHOWN``, are tried again and how to do it now; nothing for none."""
    first = batches.order_by("next_try_at").values_list("pk", "next_try_at")[:SHOWN]
    waiting = [{"id": str(pk), "next_try_at": _iso(at)} for pk, at in first]
    hint = (
        f"set-aside batches are tried again at these times; manage.py batcher flush {shlex.quote(name)} tries them now"
    )
    return {"set_aside": waiting, "hint": hint} if waiting else {}


def batches(batcher: Batcher) -> BatchQuerySet:
    """Return all batches of one batcher."""
    return BatchQuerySet(Batch).filter(batcher__in=Batcher.objects.filter(name=batcher.name))


def line(batch: Batch) -> dict[str, Any]:
    """Return the figures of one batch, without its items."""
    return {
        "id": str(batch.id),
        "status": batch.status,
        "items": batch.item_count,
        "failed_items": batch.failed_items,
        "attempts": batch.attempts,
        "status_code": batch.status_code,
        "answer": gist(batch.answer)[:80],
        "outcome_unknown": batch.outcome_unknown,
        "was_split": batch.was_split,
        "next_try_at": _iso(batch.next_try_at),
    }


def breaker(upstream: Upstream) -> dict[str, Any]:
    """Return the figures of an upstream's circuit breaker."""
    return {
        "origin": upstream.origin,
        "state": upstream.state,
        "failures": upstream.failures,
        "retry_at": _iso(upstream.retry_at),
        "last_error": upstream.last_error,
    }


def as_text(result: dict[str, Any]) -> str:
    """Write a result for people: one line for each name, and for each entry of a list."""
    lines = []
    for name, value in result.items():
        if isinstance(value, list):
            lines.append(f"{name}: {len(value)}")
            lines += ["  " + (one_line(each) if isinstance(each, str) else _pairs(each)) for each in value]
        elif isinstance(value, dict):
            lines.append(f"{name}: {_pairs(value)}")
        else:
            lines.append(f"{name}: {'-' if value is None or value == '' else one_line(str(value))}")
    return "\n".join(lines)


def _pairs(values: dict[str, Any]) -> str:
    shown = {name: value for name, value in values.items() if value not in (None, "", False, {})}
    return "  ".join(f"{name}={one_line(str(value))}" for name, value in shown.items())


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
