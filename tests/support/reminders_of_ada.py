"""Reminders of one person, for tests of digests."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from reminders.channels import Message
from reminders.models import Reminder


def remind(name: str, fire_at: datetime, **options: Any) -> Reminder:
    """Set a reminder of this name, for ada unless it says otherwise."""
    reminder = Reminder.objects.get_by_name(name)
    reminder.set_reminder(f"{name}!", fire_at, **{"person": "ada", **options})
    return reminder


def texts(message: Message) -> list[str]:
    """The texts in a digest; that of a message of a single reminder in angle brackets."""
    return [item.text for item in message.items] if message.items else [f"<{message.text}>"]


def state_of(reminder: Reminder) -> tuple[str, str]:
    """What its plan says of it, and why it is put off."""
    plan = reminder.plan()
    assert plan is not None
    return plan.state, plan.put_off
