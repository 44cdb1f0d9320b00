"""The reminder: a message, delivered at its time, once or again and again."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from durable_objects import (
    AlarmInfo,
    DurableObjectError,
    InvalidAlarmTime,
    InvalidInput,
    InvalidValue,
    crash,
    exclusive,
    now,
)
from durable_objects.models import DurableObject
from durable_objects.names import show
from durable_objects.storage import check_alarm_time
from reminders import channels as channel_registry
from reminders.channels import Message
from reminders.conf import defaults
from reminders.rows import Delivery
from reminders.series import Series

__all__ = ["Delivery", "DeliveryFailed", "Reminder"]

REMINDER = "reminder"
SHOWN = ("message", "fire_at", "next_at", "recurrence", "time_zone", "channels")
LONGEST_SNOOZE = timedelta(days=3650)


class DeliveryFailed(DurableObjectError):
    """A reminder could not be delivered by some channel; it is tried again by the alarm's own retries."""


class Stored(TypedDict):
    """A reminder as storage has it. ``occurrence`` is its place in the series, ``next_at`` when it is delivered (later
    than that once it was snoozed); moments are aware UTC.
    """

    id: str
    message: str
    fire_at: datetime
    occurrence: datetime
    next_at: datetime
    recurrence: str | None
    time_zone: str
    channels: list[str]


class Reminder(DurableObject):
    """Delivers a message at its time, at least once, under a key that is the same on every retry.

    With a recurrence it goes on: when one delivery fails for good the next one is made all the same. Occurrences that
    were missed while nothing ran are delivered once, late, and the series goes on with the next one ahead.
    """

    class Meta:
        proxy = True

    @exclusive
    def set_reminder(
        self,
        message: str,
        fire_at: datetime,
        *,
        recurrence: str | None = None,
        time_zone: str | None = None,
        channels: Sequence[str] | None = None,
    ) -> datetime:
        """Set the reminder, in place of an earlier one; when it will be delivered first.

        ``fire_at`` is aware; a past one means now. With a ``recurrence`` (an RRULE, ``"FREQ=DAILY;COUNT=5"``) it is the
        start of the series, which goes by the wall clocks of ``time_zone`` (a name, default UTC): in a DST gap a
        time is shifted forward, in a fold it is the first. ``channels`` default to ``["log"]``. Raises ``InvalidInput``
        (``InvalidAlarmTime`` for the time, ``InvalidValue`` for the message); then nothing was changed.
        """
        if type(message) is not str:
            raise InvalidValue(f"message is {show(message)}, a {type(message).__name__}. Allowed: text.")
        if not isinstance(fire_at, datetime):
            raise InvalidAlarmTime(f"fire_at is {show(fire_at)}. Allowed: an aware datetime.")
        check_alarm_time(fire_at)
        zone = defaults.TIME_ZONE if time_zone is None else time_zone
        names = channel_registry.check(defaults.CHANNELS if channels is None else channels)
        first = Series(fire_at, recurrence, zone).first()
        if first is None:
            raise InvalidInput(f"recurrence {show(recurrence)} has no time from {fire_at} on. Allowed: one that has.")
        self._store(
            Stored(
                id=str(uuid.uuid4()), message=message, fire_at=fire_at.astimezone(UTC), occurrence=first, next_at=first,
                recurrence=recurrence, time_zone=zone, channels=names,
            )
        )  # fmt: skip
        return first

    def get_reminder(self) -> dict[str, Any] | None:
        """What is set: message, fire_at, next_at (aware UTC), recurrence, time_zone, channels; None when nothing is,
        also after the last delivery. A plain read.
        """
        stored: Stored | None = self.storage.get(REMINDER)
        return None if stored is None else {name: stored[name] for name in SHOWN}  # type: ignore[literal-required]  # SHOWN names its keys

    def cancel(self) -> bool:
        """Take the reminder away, the whole series; whether there was one. A delivery in progress goes out."""
        return self._remove() if self.storage.get(REMINDER) is not None else False

    @exclusive
    def snooze(self, by: timedelta) -> datetime:
        """Put off the coming delivery (counted from its time, or from now when that is past); when it will be made.

        The rest of the series stays as it is. Raises ``InvalidInput`` for what is no positive timedelta, and when no
        reminder is set.
        """
        if not _is_snooze(by):
            raise InvalidInput(f"by is {show(by)}. Allowed: a timedelta above 0, up to {LONGEST_SNOOZE}.")
        stored: Stored | None = self.storage.get(REMINDER)
        if stored is None:
            raise InvalidInput(f"reminder {show(self.name)} is not set: nothing to snooze. Call set_reminder() first.")
        next_at = max(stored["next_at"], now()) + by
        self._store({**stored, "next_at": next_at})
        return next_at

    def alarm(self, info: AlarmInfo) -> None:
        """Deliver while unlocked, then go on to the next occurrence."""
        stored: Stored | None = self.storage.get(REMINDER)
        if stored is None:
            return
        with self.unlocked():
            failures = self._deliver(stored)
            crash.reach("reminders.delivered")
        # Set, snoozed or cancelled while it was delivered: that stands, and so does the alarm that came with it.
        if self.storage.get(REMINDER) != stored:
            return
        if failures:
            raise DeliveryFailed("; ".join(failures))
        self._go_on(stored)

    def alarm_died(self, info: AlarmInfo, error: BaseException) -> None:
        """One delivery failed for good. A series goes on; a last one is kept with its dead alarm, to be revived."""
        stored: Stored | None = self.storage.get(REMINDER)
        if stored is not None and self._following(stored) is not None:
            self._go_on(stored)

    # -- steps

    def _deliver(self, stored: Stored) -> list[str]:
        """Deliver by each channel that has not delivered yet; the errors of those that failed."""
        key = uuid.uuid5(uuid.UUID(stored["id"]), stored["next_at"].isoformat())
        message = Message(str(key), self.name, stored["message"], stored["next_at"])
        failures = []
        for name in stored["channels"]:
            delivery, _ = Delivery.objects.get_or_create(
                key=key, channel=name,
                defaults={"reminder_id": self.pk, "message": message.text, "planned_at": message.planned_at},
            )  # fmt: skip
            if delivery.delivered_at is None and (failure := _send(delivery, message)):
                failures.append(failure)
        return failures

    def _go_on(self, stored: Stored) -> None:
        following = self._following(stored)
        if following is None:
            self.storage.delete(REMINDER)
        else:
            self._store({**stored, "occurrence": following, "next_at": following})

    def _following(self, stored: Stored) -> datetime | None:
        """The next place in the series that is still ahead."""
        series = Series(stored["fire_at"], stored["recurrence"], stored["time_zone"])
        return series.after(max(stored["occurrence"], now())) if stored["recurrence"] else None

    def _store(self, stored: Stored) -> None:
        self.storage.set_alarm(stored["next_at"])
        self.storage.put(REMINDER, dict(stored))

    @exclusive
    def _remove(self) -> bool:
        self.storage.delete_alarm()
        return self.storage.delete(REMINDER)


def _is_snooze(by: object) -> bool:
    return isinstance(by, timedelta) and timedelta(0) < by <= LONGEST_SNOOZE


def _send(delivery: Delivery, message: Message) -> str | None:
    """One try by one channel, on record before and after; what went wrong."""
    delivery.attempts += 1
    delivery.save(update_fields=["attempts"])
    failure = None
    try:
        channel_registry.find(delivery.channel)(message)
        delivery.delivered_at, delivery.error = now(), ""
    except Exception as error:  # noqa: BLE001  whatever a channel raises is a failed delivery, kept with its record
        failure = f"{delivery.channel}: {type(error).__name__}: {error}"[:2000]
        # What every database can keep: no NUL, no lone surrogate.
        failure = failure.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
        delivery.error = failure
    delivery.save(update_fields=["delivered_at", "error"])
    return failure
