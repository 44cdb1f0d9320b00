"""What an upstream's answer means: of the batch as a whole, and of each item where it says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from batcher import response_items
from durable_objects import now
from durable_objects.handler_errors import named
from durable_objects.http_bodies import readable
from durable_objects.masking import scrub

KEPT_CHARACTERS = 2000
"""The characters of an answer's body that are kept."""

KEPT_OF_AN_ITEM = 200
"""The characters of the error of one item that are kept."""

#: The bytes that are searched for secrets before that: one that is cut in two would not be found.
LOOKED_THROUGH = 20_000

RETRIED_CLIENT_ERRORS = {408, 425, 429}
#: A gateway answers these for an upstream of which it does not know what it did.
GATEWAY_ERRORS = {502, 504}
MULTI_STATUS = 207


class Verdict(Enum):
    """What becomes of a batch: done; to be tried again; refused, so that trying again would change nothing."""

    DELIVERED = "delivered"
    RETRY = "retry"
    REFUSED = "refused"


Outcomes = dict[str, dict[str, Any]]
"""By an item's place in the batch (from 0, as text), for those not accepted: ``{"status": 422, "error": "…"}``.

``status`` is None where the upstream only reported that it failed.
"""


@dataclass(frozen=True)
class Answer:
    """What came of one try: the verdict, the status (None: no answer), the start of the body or the error, and how
    long the upstream asked us to stay away.

    ``outcomes``: the items that were not accepted, where the upstream reported each of them. ``unknown``: it
    may have taken the batch without our knowing. ``is_down``: it speaks against the upstream as such, and counts for
    its circuit breaker. ``is_untried``: nothing was sent, so that it counts for nothing.
    """

    verdict: Verdict
    status_code: int | None = None
    text: str = ""
    retry_after: timedelta | None = None
    outcomes: Outcomes | None = None
    unknown: bool = False
    is_down: bool = False
    is_untried: bool = False

    @classmethod
    def failed(
        cls, error: BaseException, *, unknown: bool = False, is_down: bool = False, secrets: Sequence[str] = ()
    ) -> Answer:
        """Return the answer for a try that raised: to be tried again."""
        return cls(Verdict.RETRY, text=plain(scrub(named(error), secrets)), unknown=unknown, is_down=is_down)


def verdict_on(status: int | None) -> Verdict:
    """Judge the status of a batch or an item.

    2xx is delivered; 408, 425, 429, 5xx and redirects are tried again; any other 4xx is refused. None stands for an
    item that was only reported as failed.
    """
    if status is None:
        return Verdict.REFUSED
    if 200 <= status < 300:
        return Verdict.DELIVERED
    if 400 <= status < 500 and status not in RETRIED_CLIENT_ERRORS:
        return Verdict.REFUSED
    return Verdict.RETRY


def verdict_on_all(outcomes: Outcomes) -> Verdict:
    """Judge a batch by its items: tried again while one of them may pass, else refused if one is left."""
    verdicts = {verdict_on(outcome["status"]) for outcome in outcomes.values()}
    if Verdict.RETRY in verdicts:
        return Verdict.RETRY
    return Verdict.REFUSED if verdicts else Verdict.DELIVERED


def read(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    item_count: int,
    *,
    whole: bool = True,
    secrets: Sequence[str] = (),
) -> Answer:
    """Read what an answer to a batch of ``item_count`` items means. docs/guides/batcher.md has the forms it may take.

    An answer about the items that cannot be relied on is tried again, as *unknown*: a 207 that does not report every
    item, a 2xx in which some item cannot be read, or whose JSON did not come ``whole``. What is kept of it has a mask
    in place of ``secrets``.
    """
    content_type = headers.get("Content-Type", "").lower()
    verdict, text = verdict_on(status), plain(scrub(readable(body[:LOOKED_THROUGH], content_type), secrets))
    pause = retry_after(headers.get("Retry-After"))
    if verdict is Verdict.DELIVERED:
        try:
            found = response_items.read(body, content_type, item_count, is_multi=status == MULTI_STATUS)
        except response_items.Unreadable:
            return Answer(Verdict.RETRY, status, text, pause, unknown=True)
        if isinstance(found, list):
            outcomes: Outcomes = {
                str(at): {
                    "status": each.status,
                    "error": plain(scrub(each.error[:KEPT_CHARACTERS], secrets), KEPT_OF_AN_ITEM),
                }
                for at, each in enumerate(found)
                if verdict_on(each.status) is not Verdict.DELIVERED
            }
            return Answer(verdict_on_all(outcomes), status, text, pause, outcomes)
        if not whole and "json" in content_type:
            return Answer(Verdict.RETRY, status, text, pause, unknown=True)
        verdict = verdict_on(status if found is None else found)
    is_down = status == 429 or status >= 500
    return Answer(verdict, status, text, pause, unknown=status in GATEWAY_ERRORS, is_down=is_down)


def retry_after(value: str | None) -> timedelta | None:
    """Return the header as a span from now, given as seconds or as a date; None when it is neither."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:12]), 10**9))
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return max(_aware(moment) - now(), timedelta(0))


def plain(text: str, characters: int = KEPT_CHARACTERS) -> str:
    """Cut a text to what is worth keeping, in a form that every database can store."""
    return text[:characters].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
