"""celery-batches as a peer: what people use where items are to go out together, instead of the batcher.

On a RabbitMQ queue as ours are (quorum, publisher confirms), posting to UPSTREAM_URL as the batcher does. Nothing of
ours is imported: it runs in the peers' environment, as CELERY_BATCHES says (``scripts/make-peers``). ``ACKS_LATE``
keeps a message in the broker until its batch was posted; empty for the package's default.
"""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_ready
from celery_batches import Batches

app = Celery("peer", broker=os.environ["CELERY_BROKER_URL"])
app.conf.update(
    task_default_queue="batches",
    task_default_queue_type="quorum",
    broker_transport_options={"confirm_publish": True},
    worker_prefetch_multiplier=0,  # with less than a batch of messages none would be full
)


@app.task(
    base=Batches,
    flush_every=int(os.environ["MAX_ITEMS"]),
    flush_interval=float(os.environ["WINDOW"]),
    acks_late=bool(os.environ.get("ACKS_LATE")),
    ignore_result=True,
)
def collect(requests: list[Any]) -> None:
    """Post the items of one batch."""
    body = json.dumps({"items": [request.args[0] for request in requests]}).encode()
    with urllib.request.urlopen(os.environ["UPSTREAM_URL"], body, timeout=10) as answer:  # noqa: S310  on the loopback
        answer.read()


@worker_ready.connect
def _say_so(**kwargs: Any) -> None:
    Path(os.environ["READY_FILE"]).touch()
