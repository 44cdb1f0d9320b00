"""What the page of one batch shows: how it stands, in words; its life as a line of time; its items."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from batcher import batch_history
from batcher.batch_history import Event
from batcher.responses import Verdict, verdict_on
from batcher.tables import Batch
from durable_objects.admin import to_come, when
from durable_objects.formatting import absolute, gist, number_of, short, span

#: Items that the page lists, those that were not accepted first; the characters of each.
ITEMS, ITEM_CHARACTERS = 50, 500


@dataclass(frozen=True)
class Moment:
    """A point on the line of time. ``kind`` colours it: a status of batches, ``plain``, or ``ahead``."""

    at: Any
    after: str
    kind: str
    what: str
    text: str = ""


def standing(batch: Batch, now: datetime) -> tuple[str, Any]:
    """Return in words how the batch stands, and the moment that this is about, as HTML."""
    items = number_of(batch.item_count, "item")
    if batch.was_split:
        return f"Its {items} are in other batches now, and this one is not sent again. Split", when(
            batch.finished_at, now
        )
    if batch.began_at is not None:
        return f"Try {batch.attempts} is under way. It began", when(batch.began_at, now)
    match batch.status:
        case Batch.Status.DELIVERED:
            return f"The upstream has all {items}, by try {batch.attempts}. Delivered", when(batch.finished_at, now)
        case Batch.Status.FAILED:
            return f"Not tried again unless somebody replays it. {_accepted(batch)} Failed", when(
                batch.finished_at, now
            )
        case Batch.Status.OPEN:
            return "In its quick retries: newer items wait for it. Next try", to_come(batch.next_try_at, now)
        case _:
            return "Set aside: newer items go before it. Next try", to_come(batch.next_try_at, now)


def certainty(batch: Batch) -> str:
    """Say what is known of whether the upstream has the items."""
    if batch.status == Batch.Status.DELIVERED:
        return "The upstream has every item."
    if batch.outcome_unknown:
        return (
            "Not known. A try ended without a clear answer, so the upstream may have taken the items. Each try has the "
            "same key, by which it can tell a repetition."
        )
    if batch.outcomes:
        return f"Known, item by item. {_accepted(batch)}"
    return "Known: the upstream has none of the items." if batch.attempts else "It was not tried yet."


def life(batch: Batch, now: datetime) -> list[Moment]:
    """Return what happened to the batch in order, and what comes next."""
    sealed = f"Sealed with {number_of(batch.item_count, 'item')}"
    line = [Moment(absolute(batch.sealed_at, "milliseconds"), "", "plain", sealed)]
    events, tries = batch_history.of(batch), 0
    for event in events:
        if event.number is not None:
            missing, tries = event.number - tries - 1, event.number
            line += [_not_kept(missing)] if missing > 0 else []
        line.append(_moment(batch, event))
    if (missing := batch.attempts - tries - (batch.began_at is not None)) > 0:
        line.append(_not_kept(missing))
    if batch.began_at is not None:
        line.append(_at(batch, batch.began_at, "open", f"Try {batch.attempts} began", "No result yet."))
    if batch.status == Batch.Status.DELIVERED and batch.finished_at:
        line.append(_at(batch, batch.finished_at, "delivered", "Delivered"))
    elif batch.status == Batch.Status.FAILED and batch.finished_at and not batch.was_split:
        line.append(_at(batch, batch.finished_at, "failed", "Failed, and kept"))
    if batch.next_try_at is not None and batch.finished_at is None and batch.began_at is None:
        line.append(Moment(to_come(batch.next_try_at, now), "", "ahead", "Next try"))
        line.append(Moment(to_come(batch.give_up_at, now), "", "ahead", "Given up, unless it is delivered by then"))
    return line


def items(batch: Batch) -> list[dict[str, Any]]:
    """Return the items that the page lists, by place from 0, each with the upstream's answer if that refused it."""
    every, outcomes = batch.items, {int(place): outcome for place, outcome in (batch.outcomes or {}).items()}
    places = [*sorted(outcomes), *(place for place in range(len(every)) if place not in outcomes)]
    return [
        {
            "place": place,
            "text": short(json.dumps(every[place], ensure_ascii=False), ITEM_CHARACTERS),
            "answer": f"{outcome['status'] or 'failed'} {outcome['error']}".strip()
            if (outcome := outcomes.get(place))
            else ("accepted" if batch.outcomes is not None else ""),
        }
        for place in places[:ITEMS]
    ]


def _accepted(batch: Batch) -> str:
    refused = len(batch.outcomes) if batch.outcomes is not None else batch.item_count
    taken = batch.item_count - refused
    return f"The upstream has {taken:,} of {batch.item_count:,} items." if taken else "The upstream has none of it."


def _moment(batch: Batch, event: Event) -> Moment:
    if event.what == "cut off":
        text = "Its process ended before the answer was on record. The upstream may have taken it."
        return _at(batch, event.at, "set_aside", f"Try {event.number} was cut off", text)
    if event.what != "try":
        return _at(batch, event.at, "plain", event.what.capitalize(), event.text)
    kind = "delivered" if verdict_on(event.status) is Verdict.DELIVERED and not event.unknown else "set_aside"
    if event.status is not None and verdict_on(event.status) is Verdict.REFUSED:
        kind = "failed"
    answer = event.status or short(gist(event.text), 80) or "done"
    took = f" in {span(event.took)}" if event.took else ""
    doubt = " It is not known whether the upstream took it." if event.unknown else ""
    return _at(batch, event.at, kind, f"Try {event.number}: {answer}{took}.{doubt}", event.text)


def _at(batch: Batch, at: datetime, kind: str, what: str, text: str = "") -> Moment:
    after = f"+{span(at - batch.sealed_at)}" if at > batch.sealed_at else ""
    return Moment(absolute(at, "milliseconds"), after, kind, what, text)


def _not_kept(tries: int) -> Moment:
    return Moment("", "", "plain", f"{number_of(tries, 'try', 'tries')} not kept one by one")
