"""A wake-up arrives: of which object is it, and does this code have its class? Then it runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from durable_objects import class_attributes, kinds
from durable_objects.alarms import backoff
from durable_objects.alarms.run import nobody_waits
from durable_objects.database import clock, connection
from durable_objects.delivery import limited
from durable_objects.errors import ObjectBusy
from durable_objects.execution import waiting_line
from durable_objects.execution.firing import Firing
from durable_objects.execution.wake_up_admission import Fired, Verdict
from durable_objects.logs import about, get_logger
from durable_objects.models import DurableObject
from durable_objects.turns import lock

logger = get_logger(__name__)

#: The delay of a wake-up whose class this code does not have: another worker may have it (a deploy).
PARKED_FOR = timedelta(seconds=10)


def fire(
    object_id: int,
    wake_up_number: int | None = None,
    *,
    kind_id: int | None = None,
    rescue: bool = False,
    waits: int = 0,
    retry_is_sent: bool = True,
    has_let_go: Callable[[], None] = nobody_waits,
    next_object: Callable[[], int | None] | None = None,
) -> Fired:
    """Run the alarm of this object if it is armed, due, not running, and ``wake_up_number`` is its number (None: any).

    ``kind_id`` is that of its class, as far as the sender knew: without it, it is looked up. ``rescue`` says that an
    earlier wake-up got lost, perhaps with its worker, so this start is counted beforehand. ``waits`` is how often this
    wake-up was put off already. ``has_let_go`` is called when the run has released its object, ``next_object``
    for the object of the same class that is fired next, if any: its transaction may be opened with this run's commit.

    What the handler raises is not raised but returned, whatever it is, except for what ends the process
    (``handler_errors.is_failure``). Raises the database's error when the connection broke: nothing is counted then.
    """
    handle = None if kind_id is None else DurableObject.by_kind(kind_id)
    try:
        if kind_id is None or handle is None:
            found = lock.find_by_key(clock.connection(), object_id)
            if found is None:
                return Fired(Verdict.DROPPED)
            kind_id, handle = found[0], DurableObject.by_kind(*found)
    except ObjectBusy as busy:
        waiting_line.log(busy)
        return Fired(Verdict.AGAIN, backoff.busy_delay(waits))
    if handle is None:
        message = (
            "object %s of class %s: this worker's code does not have the class, or no object can have its name. Tried "
            "again later: restart workers that began before the class was there"
        )
        logger.warning(message, object_id, kinds.label_of(kind_id), extra=about("class_unknown", object_id=object_id))
        return Fired(Verdict.AGAIN, PARKED_FOR)
    if flaw := class_attributes.flaw_of(type(handle)):
        logger.error("%s No alarm of this class can run, object %s is tried again later", flaw, object_id)
        return Fired(Verdict.AGAIN, PARKED_FOR)
    firing = Firing(
        handle, object_id, wake_up_number, waits, retry_is_sent, has_let_go=has_let_go, next_object=next_object
    )
    try:
        with connection.leaving_nothing(clock.connection()):
            return firing.fire(rescue=rescue)
    except lock.OtherKind:
        return fire(
            object_id, wake_up_number,
            rescue=rescue, waits=waits, retry_is_sent=retry_is_sent, has_let_go=has_let_go,
        )  # fmt: skip
    finally:
        if firing.had_place:
            limited.send_next(kind_id, type(handle))
