"""The effect: one POST to an upstream, and what its answer means."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum

import httpx

from durable_objects import now

KEPT_BYTES = 2000
"""So much of an answer's body is read and kept."""

RETRIED_CLIENT_ERRORS = {408, 425, 429}


class Verdict(Enum):
    """What becomes of a batch: done; to be tried again; refused, so that trying again would change nothing."""

    DELIVERED = "delivered"
    RETRY = "retry"
    REFUSED = "refused"


@dataclass(frozen=True)
class Answer:
    """What came of one try: the verdict, the status (None: no answer), the start of the body or the error, and how
    long the upstream asked us to stay away.
    """

    verdict: Verdict
    status_code: int | None = None
    text: str = ""
    retry_after: timedelta | None = None

    @classmethod
    def failed(cls, error: Exception) -> Answer:
        """A try that raised: to be tried again."""
        return cls(Verdict.RETRY, text=plain(f"{type(error).__name__}: {error}"))


def post(url: str, body: bytes, *, key: str, headers: Mapping[str, str], timeout: timedelta) -> Answer:
    """POST ``body`` as JSON with ``Idempotency-Key: key`` and say what the answer means. Never raises for an upstream
    that is down, slow, or speaks nonsense: those are answers to be tried again.

    ``timeout`` is for each step (connect, send, wait for the answer). Redirects are not followed. A connection of its
    own for each post: a kept one that the upstream has closed would look like a failed try.
    """
    sent = {**headers, "Content-Type": "application/json", "Idempotency-Key": key}
    try:
        with (
            httpx.Client(timeout=timeout.total_seconds(), verify=_tls()) as client,
            client.stream("POST", url, content=body, headers=sent) as response,
        ):
            return read(response.status_code, response.headers, _start_of(response))
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError, OSError) as error:
        return Answer.failed(error)


def read(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """What an answer means: 2xx delivered; 408, 425, 429, 5xx and redirects tried again; any other 4xx refused."""
    if 200 <= status < 300:
        verdict = Verdict.DELIVERED
    elif 400 <= status < 500 and status not in RETRIED_CLIENT_ERRORS:
        verdict = Verdict.REFUSED
    else:
        verdict = Verdict.RETRY
    return Answer(verdict, status, plain(body.decode(errors="replace")), retry_after(headers.get("Retry-After")))


def retry_after(value: str | None) -> timedelta | None:
    """The header as a span from now, whether it came as seconds or as a date; None when it says nothing sane."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:12]), 10**9))
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return max(_aware(moment) - now(), timedelta(0))


def plain(text: str) -> str:
    """Text that every database can keep, cut to what is worth keeping."""
    return text[:KEPT_BYTES].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _start_of(response: httpx.Response) -> bytes:
    """The first bytes of the body, and no more of it: the verdict hangs on the status, so a body may break off."""
    start = b""
    try:
        for chunk in response.iter_bytes(KEPT_BYTES):
            start += chunk
            if len(start) >= KEPT_BYTES:
                break
    except httpx.HTTPError:
        pass
    return start[:KEPT_BYTES]


@functools.cache
def _tls() -> ssl.SSLContext:
    """One context for the process: making one takes longer than a post."""
    return httpx.create_ssl_context()
