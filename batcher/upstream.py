"""One POST to an upstream, and what its answer means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import httpx

from batcher.responses import Answer, Verdict, plain, read
from durable_objects import outgoing
from durable_objects.outgoing import ProxyUnusable, TooManyCalls, origin_of

__all__ = ["Answer", "Verdict", "origin_of", "post"]

#: How much of an answer's body is read: enough for a result of each item.
READ_BYTES = 65_536
READ_BYTES_PER_ITEM = 1024
READ_BYTES_AT_MOST = 16 * 1024 * 1024

#: The upstream cannot have had the body when one of these is raised.
_NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
#: The fault is in the configured headers or address.
_NOT_SENDABLE = (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError)


def post(
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    timeout: timedelta,
    deadline: timedelta,
    item_count: int,
    secrets: Sequence[str] = (),
) -> Answer:
    """POST ``body`` and return what the answer means. Never raises for an upstream that is down, slow, or answers
    nonsense: those are answers to be tried again.

    ``outgoing.post`` says how it is bounded. No secret comes back in the answer.
    """
    limit = min(READ_BYTES + READ_BYTES_PER_ITEM * item_count, READ_BYTES_AT_MOST)
    try:
        reply = outgoing.post(url, body, headers=headers, timeout=timeout, deadline=deadline, read_bytes=limit)
        return read(reply.status, reply.headers, reply.start, item_count, whole=reply.whole, secrets=secrets)
    except TooManyCalls as error:
        return Answer(Verdict.RETRY, text=plain(str(error)), retry_after=error.after, is_untried=True)
    except (*_NOT_SENDABLE, ProxyUnusable) as error:
        return Answer.failed(error, secrets=secrets)
    except _NOTHING_SENT as error:
        return Answer.failed(error, is_down=True, secrets=secrets)
    except (httpx.HTTPError, httpx.StreamError, ValueError, OSError) as error:
        return Answer.failed(error, unknown=True, is_down=True, secrets=secrets)
