"""The reminder: a message, delivered at its time, once or again and again."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Self, TypeVar

from durable_objects import AlarmInfo, InvalidInput, exclusive, failpoints, now
from durable_objects.models import Alarm, DurableObject, ObjectManager
from durable_objects.recurrence.rrule import LAST_YEAR
from durable_objects.recurrence.series import Place
from durable_objects.validation import refusal, show
from reminders import delivery
from reminders.alerts.tables import Alert, AlertMessage, AlertRule, AlertWatch, KnownError
from reminders.channels import TryLater
from reminders.delivery import DeliveryFailed
from reminders.digests import Digest
from reminders.tables import Delivery, Plan, PlanQuerySet, Recipient
from reminders.validation import ARGUMENTS, check_span, checked, edited, opening

__all__ = [
    "Alert",
    "AlertMessage",
    "AlertRule",
    "AlertWatch",
    "Delivery",
    "DeliveryFailed",
    "Digest",
    "KnownError",
    "Plan",
    "Recipient",
    "Reminder",
]

SHOWN = ("message", "fire_at", "next_at", "recurrence", "time_zone", "channels")

YEAR = timedelta(days=366)
#: How long a reminder waits before it looks again whether its digest, which is at work, is done with it.
DIGEST_LOOKED_AT_EVERY = timedelta(minutes=1)

Model = TypeVar("Model", bound="Reminder")


class ReminderManager(ObjectManager[Model]):
    """Finds reminders by name, and those of a person."""

    def of_person(self, person: str) -> PlanQuerySet:
        """Return what is set for this person, what comes next first; each row has the reminder as ``object``. One
        query.
        """
        return Plan.objects.of_person(person)


class Reminder(DurableObject):
    """Delivers a message at its time, at least once, under a key that is the same on every retry.

    With a recurrence it goes on: when one delivery fails for good the next one is made all the same. Occurrences that
    were missed while nothing ran are delivered once, late, and the series goes on with the next one ahead; so it does
    when an occurrence was snoozed past others.
    """

    objects: ClassVar[ReminderManager[Self]] = ReminderManager()

    class Meta:
        proxy = True

    def set_reminder(
        self,
        message: str,
        fire_at: datetime,
        *,
        recurrence: str | None = None,
        time_zone: str | None = None,
        channels: Sequence[str] | None = None,
        person: str | None = None,
        urgent: bool = False,
        skip_if_late: timedelta | None = None,
        idempotent: bool = False,
    ) -> datetime:
        """Set the reminder, in place of an earlier one; return when it will be delivered first.

        ``fire_at`` is aware; a past one means now. With a ``recurrence`` (an RRULE, ``"FREQ=DAILY;COUNT=5"``, with
        EXDATE lines below it if need be) it is the start of the series, which goes by the wall clocks of ``time_zone``
        (a name; default the recipient's, else UTC): in a DST gap a time is shifted forward, in a fold it is the first.
        ``channels`` default to ``["log"]``. ``person`` names the recipient, whose quiet hours hold it unless it is
        ``urgent``. What would be later than ``skip_if_late`` is not delivered (None: delivered, marked as late).

        ``idempotent``: where the same was set last, and is still to come or was delivered, nothing changes. Raises
        ``InvalidInput`` (``InvalidAlarmTime`` for the time, ``InvalidValue`` for the message) and changes nothing then.
        """
        fields = checked(
            {
                "message": message, "fire_at": fire_at, "recurrence": recurrence, "time_zone": time_zone,
                "channels": channels, "person": person, "urgent": urgent, "skip_if_late": skip_if_late,
            }
        )  # fmt: skip
        return self._set_to(fields, opening(fields), idempotent=idempotent)

    def edit_reminder(self, **changes: Any) -> datetime:
        """Change what is given (arguments as for ``set_reminder``), leave the rest; return when it is delivered next.

        Unless its times are changed, its place in the series and a snooze stay, and so does the key of a delivery that
        is being tried. New times apply from now on: nothing past is delivered for them. Raises ``InvalidInput``, also
        when no reminder is set.
        """
        plan = self._to_change("edit")
        if unknown := changes.keys() - set(ARGUMENTS):
            raise refusal(f"edit_reminder() has no argument {show(min(unknown))}", f"one of {', '.join(ARGUMENTS)}")
        return self._edit(plan, changes, *edited(plan, changes))

    def get_reminder(self) -> dict[str, Any] | None:
        """Return what is set: message, fire_at, next_at (aware UTC), recurrence, time_zone, channels; None when nothing
        is, also after the last delivery. A plain read.
        """
        plan = self.plan()
        return {name: getattr(plan, name) for name in SHOWN} if plan and plan.state == Plan.State.SET else None

    def plan(self) -> Plan | None:
        """Return its plan, also once it is over or cancelled; None if it was never set. A plain read."""
        return Plan.objects.filter(object__kind_id=self.kind_pk(), object__name=self.name).first()

    def cancel(self) -> bool:
        """Cancel the reminder, the whole series; return whether one was set. A delivery in progress goes out."""
        return self._cancel() if self._set() is not None else False

    @exclusive
    def snooze(self, by: timedelta) -> datetime:
        """Put off the coming delivery (counted from its time, or from now when that is past); return when it will be
        made.

        The rest of the series stays as it is. Raises ``InvalidInput`` unless ``by`` is a positive timedelta, and
        when no reminder is set.
        """
        check_span("by", by)
        plan = self._to_change("snooze")
        return self._snooze(plan, max(plan.next_at, now()), by)

    @exclusive
    def remind_again(self, series_id: Any, place: Place, by: timedelta) -> datetime:
        """Deliver this occurrence again, ``by`` from now, whether it was delivered or is still tried; then the series
        goes on. Raises ``InvalidInput`` when the reminder was set again or cancelled since.
        """
        check_span("by", by)
        plan = self.plan()
        if plan is None or plan.series_id != series_id or plan.state == Plan.State.CANCELLED:
            raise InvalidInput(f"reminder {show(self.name)} was set again or cancelled since: nothing to snooze.")
        plan.state = Plan.State.SET
        plan.stand_at(place)
        return self._snooze(plan, now(), by)

    def skip(self, occurrence: datetime | None = None) -> datetime | None:
        """Leave out the coming delivery (only if it is of this occurrence); return when the next one is made, None for
        never.

        Raises ``InvalidInput`` when no reminder is set.
        """
        plan = self._to_change("skip")
        return self._skip(plan, plan.following(now()), occurrence)

    def recompute(self) -> datetime | None:
        """Compute again when it is delivered, by the time zones as they are known here now: to be called after an
        update of them. Return the new moment; None where it is as it was, or nothing is to come.

        What is snoozed stays put off to the moment that was chosen; the rest of its series moves. What is due
        already is left to its run, which checks by itself.
        """
        plan = self._set()
        if plan is None or not plan.is_astray(now()):
            return None
        return self._recompute(plan, plan.place_now())

    def alarm(self, info: AlarmInfo) -> None:
        """Deliver while unlocked, then go on to the next occurrence."""
        plan = self._set()
        if plan is None or self._is_put_off(plan, is_retry=info.is_retry):
            return
        is_too_late = not info.is_retry and plan.is_too_late(now())
        with self.unlocked():
            failures, untried = [], None
            try:
                failures = delivery.skip(plan) if is_too_late else delivery.deliver(plan, self.name)
            except TryLater as later:
                untried = later
            failpoints.reach("reminders.delivered")
            following = None if failures or untried else plan.following(now())
        # Set, edited, snoozed or cancelled while it was delivered: that stands, and the alarm that came with it.
        fresh = self._set()
        if fresh is None or not fresh.is_as(plan):
            return
        if failures:
            raise DeliveryFailed("; ".join(failures))
        if untried:  # no failure, so that a receiver that delays others costs nobody a retry
            self.storage.set_alarm(now() + untried.after)
        else:
            self._go_on(fresh, following)

    def alarm_died(self, info: AlarmInfo, error: BaseException) -> None:
        """Go on with the series after a delivery failed for good; a last one is kept with its dead alarm, to be
        revived.
        """
        plan = self._set()
        following = plan.following(now()) if plan is not None else None
        if plan is not None and following is not None:
            self._go_on(plan, following)

    def go_on_after_digest(self, key: uuid.UUID) -> None:
        """Go on with the series once its digest has delivered this; nothing where it is in none any more."""
        plan = self._set()
        if plan is not None and plan.is_in_digest(key):
            self._go_on_after_digest(key, plan.following(now()))

    @exclusive
    def leave_digest(self, key: uuid.UUID) -> None:
        """Deliver this by itself, now, where it still waits in a digest."""
        plan = self._set()
        if plan is not None and plan.is_in_digest(key):
            plan.put_off = Plan.APART
            self._changed(plan)

    # -- steps. The times of a rule are computed before the lock is taken; again only if another change came between.

    @exclusive
    def _set_to(self, fields: dict[str, Any], place: Place, *, idempotent: bool) -> datetime:
        before = self.plan() if idempotent else None
        if before is not None and before.is_set_to(fields) and not self._is_dead():
            return before.next_at
        plan = Plan(object_id=self.pk, **fields)
        self._stand_at(plan, place)
        plan.save()
        return plan.next_at

    @exclusive
    def _edit(self, seen: Plan, changes: dict[str, Any], fields: dict[str, Any], moved_to: Place | None) -> datetime:
        plan = self._to_change("edit")
        if not plan.is_as(seen):
            fields, moved_to = edited(plan, changes)
        place = moved_to or plan.place
        leaves_digest = plan.put_off == Plan.DIGEST and (fields["urgent"] or fields["person"] != plan.person)
        for name, value in fields.items():
            setattr(plan, name, value)
        if moved_to or leaves_digest:
            plan.snoozes += 1  # what was delivered at the very same time before is another delivery
        if moved_to or leaves_digest or plan.put_off == Plan.QUIET:
            self._stand_at(plan, place)
        self._changed(plan)
        return plan.next_at

    @exclusive
    def _go_on_after_digest(self, key: uuid.UUID, following: Place | None) -> None:
        plan = self._set()
        if plan is not None and plan.is_in_digest(key):
            self._go_on(plan, following)

    @exclusive
    def _skip(self, seen: Plan, following: Place | None, occurrence: datetime | None) -> datetime | None:
        plan = self._to_change("skip")
        if not plan.is_as(seen):
            following = plan.following(now())
        if occurrence in {None, plan.occurrence}:
            plan.revision += 1
            self._go_on(plan, following)
        return plan.next_at if plan.state == Plan.State.SET else None

    @exclusive
    def _recompute(self, seen: Plan, place: Place | None) -> datetime | None:
        plan = self._set()
        if plan is None or not plan.is_as(seen):
            return None  # set, edited or delivered meanwhile: by the zones as they are now
        self._move(plan, place)
        return plan.next_at if plan.state == Plan.State.SET else None

    def _is_put_off(self, plan: Plan, *, is_retry: bool) -> bool:
        """Return whether it is not delivered now: it is tried again, or comes later, or with others."""
        if plan.put_off == Plan.DIGEST and self._is_with_digest(plan):
            return True
        return not is_retry and (self._is_moved(plan) or self._is_held(plan) or self._is_gathered(plan))

    def _is_with_digest(self, plan: Plan) -> bool:
        """Return whether it stays in its digest: while that is being sent, and where it was not sent at its time, for
        it may be gone. Whatever else runs the alarm has it delivered now.
        """
        digest, recipient, moment = Digest.objects.get_by_name(plan.person), Recipient.find(plan.person), now()
        if digest.lets_go(plan.key):
            if moment >= plan.wakes_at and plan.goes_with_digest(recipient, moment):
                plan.next_at = digest.gather(recipient, within=DIGEST_LOOKED_AT_EVERY)
            else:
                plan.put_off = Plan.APART
            plan.revision += 1
            plan.save()
        if plan.put_off == Plan.APART:
            return False
        self.storage.set_alarm(max(plan.wakes_at, moment + DIGEST_LOOKED_AT_EVERY))
        return True

    def _is_gathered(self, plan: Plan) -> bool:
        """Return whether it waits for its person's next digest."""
        recipient = Recipient.find(plan.person)
        if not plan.goes_with_digest(recipient, now()):
            return False
        plan.next_at, plan.put_off = Digest.objects.get_by_name(plan.person).gather(recipient), Plan.DIGEST
        self._changed(plan)
        return True

    def _is_moved(self, plan: Plan) -> bool:
        """Return whether it is to come later, since its zone's clocks were changed after the alarm was set."""
        place, put_off = plan.place_now(), (plan.next_at, plan.put_off)
        if place == plan.place:
            return False
        if place is None or (place.at > now() and plan.put_off != Plan.SNOOZED):
            self._move(plan, place)
            return True
        plan.stand_at(place)
        if put_off[1] == Plan.SNOOZED:
            plan.next_at, plan.put_off = put_off
        plan.revision += 1
        plan.save()
        return False

    def _move(self, plan: Plan, place: Place | None) -> None:
        put_off = plan.next_at, plan.put_off
        plan.fire_at = plan.starts_at.astimezone(UTC)
        plan.revision += 1
        self._go_on(plan, place)
        if put_off[1] == Plan.SNOOZED and place is not None:
            plan.next_at, plan.put_off = put_off
            self._changed(plan)

    def _is_held(self, plan: Plan) -> bool:
        moment = now()
        undisturbed = moment if plan.urgent else Recipient.find(plan.person).undisturbed(moment)
        if undisturbed <= moment:
            return False
        plan.next_at, plan.put_off = undisturbed, Plan.QUIET
        self._changed(plan)
        return True

    def _go_on(self, plan: Plan, following: Place | None) -> None:
        if following is None:
            plan.state = Plan.State.OVER
            self.storage.delete_alarm()
            plan.save()
        else:
            self._stand_at(plan, following)
            plan.save()

    def _stand_at(self, plan: Plan, place: Place) -> None:
        plan.stand_at(place)
        if not plan.urgent and place.at > now():
            held = Recipient.find(plan.person).undisturbed(place.at)
            plan.next_at, plan.put_off = held, Plan.QUIET if held != place.at else ""
        self.storage.set_alarm(plan.next_at)

    def _snooze(self, plan: Plan, since: datetime, by: timedelta) -> datetime:
        if since.year + by / YEAR >= LAST_YEAR:
            raise refusal(
                f"by leads past the year {LAST_YEAR}, from {since.isoformat()}",
                f"a duration that ends by the year {LAST_YEAR}",
            )
        plan.next_at, plan.put_off = (since + by).astimezone(UTC), Plan.SNOOZED
        plan.snoozes += 1
        self._changed(plan)
        return plan.next_at

    def _changed(self, plan: Plan) -> None:
        plan.revision += 1
        self.storage.set_alarm(plan.wakes_at)
        plan.save()

    @exclusive
    def _cancel(self) -> bool:
        plan = self._set()
        if plan is None:
            return False
        self.storage.delete_alarm()
        plan.state = Plan.State.CANCELLED
        plan.revision += 1
        plan.save()
        return True

    def _is_dead(self) -> bool:
        """Return whether its last delivery failed for good."""
        return Alarm.objects.filter(object_id=self.pk, state=Alarm.State.DEAD).exists()

    def _set(self) -> Plan | None:
        plan = self.plan()
        return plan if plan is not None and plan.state == Plan.State.SET else None

    def _to_change(self, verb: str) -> Plan:
        plan = self._set()
        if plan is None:
            error = InvalidInput(f"reminder {show(self.name)} is not set: nothing to {verb}. Set it first.")
            error.allowed = "a reminder that is set"
            raise error
        return plan
