"""One try: the request that a batch is, made while the batcher is unlocked."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import httpx
from django.db.models.functions import Substr

from batcher import circuit_breaker, upstream
from batcher.circuit_breaker import Gate
from batcher.conf import defaults
from batcher.responses import Answer, Verdict
from batcher.setting_rules import Policy
from batcher.tables import Batch
from durable_objects import RunSuperseded, failpoints, now, signing
from durable_objects.handler_errors import formattable, is_failure
from durable_objects.logs import get_logger
from durable_objects.masking import MASK, masked_url

logger = get_logger("batcher")

#: Characters of a batch's items that a preview shows.
SHOWN = 2_000


def post(name: str, batch: Batch, policy: Policy) -> Answer:
    """Post the batch as its batcher's settings say. What is secret in them does not come back in the answer."""
    text = _body(name, batch, batch.items_json)
    headers = _headers(text, batch, policy)
    # Without a time in it the same text compressed is the same bytes, on every try.
    body = gzip.compress(text.encode(), mtime=0) if policy.gzip else text.encode()
    return upstream.post(
        policy.upstream_url,
        body,
        headers=headers,
        timeout=defaults.TIMEOUT,
        deadline=defaults.DEADLINE,
        item_count=batch.item_count,
        secrets=policy.secrets,
    )


def preview(name: str, batch: Batch, policy: Policy) -> str:
    """Return the request of the next try for people: without secrets, a long body cut."""
    hidden = {"webhook-signature", *map(str.lower, policy.headers)}
    headers = [f"{key}: {MASK if key in hidden else value}" for key, value in _headers("", batch, policy).items()]
    return "\n".join([f"POST {masked_url(policy.upstream_url)}", *headers, "", _body(name, batch, beginning(batch))])


def beginning(batch: Batch) -> str:
    """Return the items' JSON, of a long one the beginning and an ellipsis."""
    start: str = Batch.objects.filter(pk=batch.pk).values_list(Substr("items_json", 1, SHOWN + 1)).get()[0]
    return start if len(start) <= SHOWN else f"{start[:SHOWN]}…"


def attempt(process_batch: Callable[[Batch], Answer | None], batch: Batch, gate: Gate, name: str) -> Answer:
    """Make one try, recorded with the upstream's breaker. Raises ``RunSuperseded``; other errors are failed tries."""
    try:
        answer = process_batch(batch)
    except RunSuperseded:
        raise
    except BaseException as error:  # whatever an override raises is a failed try of this batch
        if not is_failure(error):
            raise
        logger.warning("Batcher %r: batch %s could not be processed", name, batch.id, exc_info=formattable(error))
        answer = Answer.failed(error)
    answer = answer if isinstance(answer, Answer) else Answer(Verdict.DELIVERED)
    failpoints.reach("batcher.posted")
    circuit_breaker.record(gate, answer)
    return answer


def _body(name: str, batch: Batch, items: str) -> str:
    return f'{{"batcher":{json.dumps(name, ensure_ascii=False)},"batch":"{batch.id}","items":{items}}}'


def _headers(text: str, batch: Batch, policy: Policy) -> httpx.Headers:
    """Build the headers: the batcher's own, ours over them. The signature is over the JSON text before compression."""
    headers = httpx.Headers(dict(policy.headers))
    headers.update({"Content-Type": "application/json", "Idempotency-Key": str(batch.id)})
    if policy.gzip:
        headers["Content-Encoding"] = "gzip"
    if policy.secret:
        moment = now()
        headers["webhook-id"] = str(batch.id)
        headers["webhook-timestamp"] = str(int(moment.timestamp()))
        headers["webhook-signature"] = signing.sign(policy.secret, str(batch.id), moment, text)
    return headers
