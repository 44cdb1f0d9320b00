"""Reminders over HTTP. The API that mounts them guards them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Protocol, runtime_checkable

from django.http import HttpRequest
from ninja import Schema
from pydantic import BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError

from durable_objects import InvalidAlarmTime
from durable_objects.http.routers import ScopedRouter
from durable_objects.validation import refusal
from durable_objects.validation import show as shown
from reminders import channels, digests
from reminders.conf import defaults
from reminders.models import Plan, Reminder
from reminders.validation import TIME_ALLOWED

router = ScopedRouter(
    "reminders",
    reads="look at reminders",
    writes="set, snooze and cancel reminders",
    description="A message at a time, once or again and again. Scopes `reminders:read` (GET), `reminders:write`.",
    channels=channels.names,
)

ANSWERED = ("message", "fire_at", "next_at", "recurrence", "time_zone", "person", "urgent")


def _of_fixed_length(span: Any) -> Any:
    """Refuse what pydantic would turn into a duration of its own choice: a month into 30 days, true into a second."""
    if isinstance(span, bool) or (isinstance(span, str) and re.match(r"[+-]?P[^T]*[YM]", span)):
        raise PydanticCustomError(
            "time_delta_not_fixed",
            "a month, a year or a boolean is no fixed duration: give seconds, or such as PT10M, P1D or P2W",
        )
    return span


Span = Annotated[timedelta, BeforeValidator(_of_fixed_length)]


class NewReminder(Schema):
    """What to deliver and when: ``fire_at`` is ISO 8601 with an offset, ``recurrence`` an RRULE with EXDATE lines below
    it, ``skip_if_late`` seconds or an ISO 8601 duration. Addresses belong to the ``person``; staff enter them in admin.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "message": "drink tea",
                    "fire_at": "2030-06-01T16:00:00+02:00",
                    "recurrence": "FREQ=DAILY;COUNT=5",
                    "time_zone": "Europe/Berlin",
                    "person": "ada",
                }
            ]
        },
    )

    message: str
    fire_at: str
    recurrence: str | None = None
    time_zone: str | None = None
    channels: list[str] | None = None
    person: str | None = None
    urgent: bool = False
    skip_if_late: Span | None = None


class ReminderState(Schema):
    """What is set; all null where nothing is."""

    message: str | None
    fire_at: datetime | None
    next_at: datetime | None
    recurrence: str | None
    time_zone: str | None
    channels: list[str]
    person: str | None
    urgent: bool | None


class Snooze(Schema):
    """How long to put off: seconds, or an ISO 8601 duration such as ``PT10M``, without months and years."""

    model_config = ConfigDict(extra="forbid")

    by: Span


class DigestWindow(Schema):
    """Within how long what comes due is one message: seconds, or an ISO 8601 duration such as ``PT1H``, from a minute
    to 7 days; null for none.
    """

    model_config = ConfigDict(extra="forbid")

    window: Span | None


class DigestState(Schema):
    """The window that a person has (seconds; null: none), how many reminders wait, and when their digest is sent."""

    person: str
    window: float | None
    waiting: int
    sent_at: datetime | None


class Cancelled(Schema):
    """Whether a reminder was set."""

    cancelled: bool


@router.put("/{name}", response=ReminderState)
def put(request: HttpRequest, name: str, new: NewReminder) -> dict[str, Any]:
    """Set the reminder, in place of an earlier one. Setting the same again changes nothing: what is still to come stays
    where it is, and what was delivered is not delivered again (DELETE it first to have it delivered again).
    """
    check_reach(request, new)
    reminder = Reminder.objects.get_by_name(name)
    reminder.set_reminder(
        new.message,
        moment_of(new.fire_at),
        recurrence=new.recurrence,
        time_zone=new.time_zone,
        channels=new.channels,
        person=new.person,
        urgent=new.urgent,
        skip_if_late=new.skip_if_late,
        idempotent=True,
    )
    return state_of(reminder)


@router.get("/{name}", response=ReminderState)
def show(request: HttpRequest, name: str) -> dict[str, Any]:
    """Return what is set; all null for a reminder that is cancelled, over, or was never set."""
    return state_of(Reminder.objects.get_by_name(name))


@router.delete("/{name}", response=Cancelled)
def cancel(request: HttpRequest, name: str) -> dict[str, bool]:
    """Cancel the reminder, the whole series."""
    return {"cancelled": Reminder.objects.get_by_name(name).cancel()}


@router.post("/{name}/snooze", response=ReminderState)
def snooze(request: HttpRequest, name: str, snoozed: Snooze) -> dict[str, Any]:
    """Put off the next delivery; the rest of the series stays."""
    reminder = Reminder.objects.get_by_name(name)
    reminder.snooze(snoozed.by)
    return state_of(reminder)


@router.get("/people/{name}/digest", response=DigestState)
def show_digest(request: HttpRequest, name: str) -> dict[str, Any]:
    """Return what this person has chosen, and what waits; also for somebody who is no recipient."""
    return digest_state_of(name)


@router.put("/people/{name}/digest", response=DigestState)
def put_digest(request: HttpRequest, name: str, chosen: DigestWindow) -> dict[str, Any]:
    """Have what comes due for this recipient within the window sent as one message. What waits already is sent as it
    was planned. Recipients are entered by staff.
    """
    digests.choose_window(name, chosen.window)
    return digest_state_of(name)


@runtime_checkable
class Bounds(Protocol):
    """The caller (``request.auth``), as whoever guards these routes identified it."""

    def check_reach(self, person: str | None, channels: Sequence[str], default: Sequence[str]) -> None:
        """Raise the guard's refusal unless the caller may have something delivered to this person by these channels,
        or by the default ones.
        """


def check_reach(request: HttpRequest, new: NewReminder) -> None:
    """Ask the guard, where it has an opinion, about the person and the channels."""
    bounds = getattr(request, "auth", None)
    if isinstance(bounds, Bounds):
        bounds.check_reach(new.person, new.channels or (), defaults.CHANNELS)


def digest_state_of(person: str) -> dict[str, Any]:
    """Return the answer about one person's digest."""
    found = digests.standing(person)
    return {**found._asdict(), "window": found.window.total_seconds() if found.window is not None else None}


def state_of(reminder: Reminder) -> dict[str, Any]:
    """Return the answer about one reminder."""
    plan = reminder.plan()
    if plan is None or plan.state != Plan.State.SET:
        return {"channels": []} | dict.fromkeys(ANSWERED)
    return {"channels": plan.channels} | {name: getattr(plan, name) for name in ANSWERED}


def moment_of(text: str) -> datetime:
    """Return the moment that an ISO 8601 text names. Raises ``InvalidAlarmTime``."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise refusal(f"fire_at is {shown(text)}", TIME_ALLOWED, InvalidAlarmTime) from None
