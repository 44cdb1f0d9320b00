"""Asks a worker for the next part of an operation on many objects, and again when its worker is gone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from durable_objects.conf import engine
from durable_objects.delivery import publisher
from durable_objects.logs import get_logger
from durable_objects.tables import Operation

logger = get_logger(__name__)

#: A worker that was asked and has not begun within this time is asked again.
ASKED_AGAIN_AFTER = timedelta(seconds=30)

#: Sends the message for an operation under this number (its ``fence``), to be taken up after this delay.
Send = Callable[[int, int, timedelta], None]
#: Goes on with the operation under this number; returns what became of it, for Celery's log.
Work = Callable[[int, int], str]

_send: Send | None = None
_work: Work | None = None


def register_send(send: Send) -> None:
    """Set how a worker is asked. Called by ``tasks``."""
    global _send
    _send = send


def register_work(work: Work) -> None:
    """Set what a worker then does. Called by ``operations.bulk_chunks``."""
    global _work
    _work = work


def work(pk: int, number: int) -> str:
    """Go on with the operation, as a worker that was asked."""
    return "nobody knows how" if _work is None else _work(pk, number)


def ask(pk: int, number: int, delay: timedelta = timedelta(0)) -> bool:
    """Ask a worker; return whether the broker took the message. What it did not take the dispatcher sends again."""
    if _send is None or not publisher.can_publish():
        return False
    try:
        _send(pk, number, delay)
    except Exception as error:  # noqa: BLE001  whatever a broker's client raises: the dispatcher asks again
        logger.warning("no worker could be asked for operation %s (%r): the dispatcher will", pk, error)
        return False
    return True


def ask_again(now: datetime) -> int:
    """Ask for operations that run and that no worker has taken up, or whose worker is gone; return for how many."""
    rows = Operation.objects.using(engine.DATABASE).filter(state=Operation.State.RUNNING)
    asked = 0
    for pk, number, at in rows.filter(ask_at__lte=now).values_list("pk", "fence", "ask_at"):
        if rows.filter(pk=pk, fence=number, ask_at=at).update(ask_at=now + ASKED_AGAIN_AFTER):
            asked += ask(pk, number)
    return asked
