"""The digest: what comes due for one person within a while, as one message."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol, TypedDict, runtime_checkable

from django.core.exceptions import ValidationError
from django.db.models import Q

from durable_objects import AlarmInfo, exclusive, failpoints, now
from durable_objects.models import Alarm, DurableObject, as_handle
from durable_objects.operations import pauses
from durable_objects.validation import check_name, refusal, show
from reminders import delivery, validators
from reminders.delivery import DeliveryFailed, Tried
from reminders.tables import Plan, Recipient

#: Reminders in one message, and characters of their texts; the next message has the others.
AT_MOST, CHARACTERS = 100, 200_000
#: Entries of its storage: when it is to be sent, and what is being sent.
SENT_AT, SEALED = "sent_at", "sealed"


@runtime_checkable
class Gathered(Protocol):
    """A reminder, as its digest knows it. Each call is a turn of the reminder, and does nothing for another delivery
    than that of this key, or once it is in no digest any more.
    """

    def go_on_after_digest(self, key: uuid.UUID) -> None:
        """Go on with the series: this delivery is settled."""

    def leave_digest(self, key: uuid.UUID) -> None:
        """Have it delivered by the reminder itself, now."""


class Sealed(TypedDict):
    """What is sent under one key, on every try: it loses what was changed meanwhile, and gets nothing new."""

    key: uuid.UUID
    planned_at: datetime
    #: The rows of the reminders, and their keys.
    reminders: list[tuple[int, uuid.UUID]]
    #: Whether its retries failed, so that each reminder is delivered by itself.
    given_up: bool


class Standing(NamedTuple):
    """What a person has chosen, and what waits for the next digest."""

    person: str
    window: timedelta | None
    waiting: int
    sent_at: datetime | None


class Digest(DurableObject):
    """Sends what comes due for one person within a while as one message; its name is the person's.

    Reminders join it in their own turns; which ones wait in it their plans say. At its time it seals what waits (that
    is on record before the first try), sends it without any lock, and has each reminder go on in a turn of its own. So
    a reminder that holds its lock may take the digest's, and the digest, holding its own, never takes a reminder's.

    What cannot be delivered as a digest, after its retries or since it was refused, and what would be alone in it, each
    reminder delivers by itself. Nothing is lost with a digest: a reminder that is in one has its own alarm, an hour
    later, and joins again.
    """

    class Meta:
        proxy = True

    @exclusive
    def gather(self, recipient: Recipient, within: timedelta | None = None) -> datetime:
        """Return when the digest is sent that has what is due now; its alarm is set. ``within``: in place of the
        recipient's window.
        """
        sent_at: datetime | None = self.storage.get(SENT_AT)
        if sent_at is None:
            sent_at = recipient.undisturbed(now() + (within or recipient.digest_window or timedelta(0)))
            self.storage.put(SENT_AT, sent_at)
        if not self._is_at_work():  # else its alarm is that time, or the end of the present run sets it
            self.storage.set_alarm(sent_at)
        return sent_at

    @exclusive
    def lets_go(self, key: uuid.UUID) -> bool:
        """Return whether this delivery may be made apart from it: not while it is being tried."""
        sealed: Sealed | None = self.storage.get(SEALED)
        return (
            sealed is None or key not in {sealed_key for _, sealed_key in sealed["reminders"]} or not self._is_at_work()
        )

    def alarm(self, info: AlarmInfo) -> None:
        """Seal what waits, unless that is done; send it while unlocked; then wait for the next."""
        sealed: Sealed | None = self.storage.get(SEALED)
        if sealed is None:
            if self._is_held():
                return
            sealed = self._seal()
        if sealed is not None:
            with self.unlocked():
                tried = self._send(sealed)
                failpoints.reach("reminders.digest_sent")
            if tried.failures:
                raise DeliveryFailed("; ".join(tried.failures))
            if tried.untried is not None:
                self.storage.set_alarm(now() + tried.untried.after)
                return
            self.storage.delete(SEALED)
        if (sent_at := self.storage.get(SENT_AT)) is not None:
            self.storage.set_alarm(sent_at)

    def alarm_died(self, info: AlarmInfo, error: BaseException) -> None:
        """Have each reminder deliver itself after the retries of a digest failed."""
        sealed: Sealed | None = self.storage.get(SEALED)
        if sealed is not None and not sealed["given_up"]:
            self.storage.put(SEALED, {**sealed, "given_up": True})
            self.storage.set_alarm(now())

    # -- steps.

    def _is_at_work(self) -> bool:
        """Return whether its alarm is set or runs."""
        rows = Alarm.objects.filter(object_id=self.pk)
        return rows.filter(Q(state=Alarm.State.ARMED) | Q(leased_until__gt=now())).exists()

    def _is_held(self) -> bool:
        moment = now()
        undisturbed = Recipient.find(self.name).undisturbed(moment)
        if undisturbed <= moment:
            return False
        self.storage.put(SENT_AT, undisturbed)
        self.storage.set_alarm(undisturbed)
        return True

    def _seal(self) -> Sealed | None:
        """Return what is sent now, as it is put on record; None where nothing waits any more."""
        reminders: list[tuple[int, uuid.UUID]] = []
        characters = 0
        self.storage.delete(SENT_AT)
        paused = pauses.in_force()
        for plan in Plan.objects.in_digest(self.name).select_related("object").iterator(AT_MOST):
            if paused.holds(plan.pk, plan.object.kind_id):
                continue  # it joins again by its own alarm, once it is resumed
            characters += len(plan.message)
            if reminders and (len(reminders) == AT_MOST or characters > CHARACTERS):
                self.storage.put(SENT_AT, now())
                break
            reminders.append((plan.pk, plan.key))
        if not reminders:
            return None
        sealed = Sealed(key=uuid.uuid4(), planned_at=now(), reminders=reminders, given_up=False)
        self.storage.put(SEALED, dict(sealed))
        return sealed

    def _send(self, sealed: Sealed) -> Tried:
        """Try what is left of it once; return what came of that. Called without any lock."""
        keys = dict(sealed["reminders"])
        rows = Plan.objects.in_digest(self.name).filter(pk__in=keys).select_related("object")
        paused = pauses.in_force()
        plans = [
            plan for plan in rows if plan.is_in_digest(keys[plan.pk]) and not paused.holds(plan.pk, plan.object.kind_id)
        ]
        late = {plan.key for plan in plans if plan.is_too_late(now())}
        if sealed["given_up"] or len(keys) == 1:
            tried, apart = Tried(), {plan.key for plan in plans}
        else:
            together = [plan for plan in plans if plan.key not in late]
            tried = delivery.deliver_together(sealed["key"], self.name, sealed["planned_at"], together)
            failpoints.reach("reminders.digest_on_record")
            apart = tried.refused | late
        for plan in plans:
            handle: Any = as_handle(plan.object)
            if isinstance(handle, Gathered) and plan.key in apart:
                handle.leave_digest(plan.key)
            elif isinstance(handle, Gathered) and plan.key in tried.settled:
                handle.go_on_after_digest(plan.key)
        return tried


def choose_window(person: str, window: timedelta | None) -> None:
    """Give this recipient a digest of what comes due within this time; None for none: what waits already is sent as
    it was planned. Raises ``InvalidInput`` for a time out of bounds, and for somebody who is no recipient.
    """
    check_name(person)
    allowed = f"{validators.SHORTEST_WINDOW} to {validators.LONGEST_WINDOW.days} days, or none"
    try:
        if window is not None:
            validators.digest_window(window)
    except ValidationError:
        raise refusal(f"window is {window}", allowed) from None
    if not Recipient.objects.filter(name=person).update(digest_window=window):
        raise refusal(f"person is {show(person)}, who is no recipient", "the name of one, as entered in admin")


def standing(person: str) -> Standing:
    """Return what this person has chosen and what waits. A plain read. Raises ``InvalidName``."""
    check_name(person)
    waiting = Plan.objects.in_digest(person)
    first = waiting.values_list("next_at", flat=True).first()
    return Standing(person, Recipient.find(person).digest_window, waiting.count(), first)
