"""The verbs that set an alarm to another time: later by so much, to a time, or where none is set."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminSplitDateTime
from django.core.exceptions import ValidationError

from durable_objects import durations
from durable_objects.admin import display
from durable_objects.admin.forms import SpanField
from durable_objects.admin.verbs import Verb, stands
from durable_objects.errors import InvalidAlarmTime
from durable_objects.operations import actions as operations
from durable_objects.tables import Alarm, Object

#: What the buttons offer without a form.
STEPS = (timedelta(minutes=5), timedelta(hours=1))
#: The states whose time to come can be later; a dead alarm has none, nor has one that runs.
WAITING = frozenset({"armed", "retrying", "due", "overdue", "limited", "paused"})


class MoveForm(forms.Form):
    """When an alarm is to run; ``cleaned_data["when"]`` is a span from its time, or a time."""

    later = SpanField(
        required=False, label="Later by", help_text="15m, 1h 30m, 2d: from its time, or from now if that is past."
    )
    at = forms.SplitDateTimeField(
        required=False, label="Or at", widget=AdminSplitDateTime, help_text="In the time zone that this page shows."
    )

    def clean(self) -> dict[str, Any]:
        """Return what was given as ``when``."""
        later, at = self.cleaned_data.get("later"), self.cleaned_data.get("at")
        if not self.errors and (later is None) == (at is None):
            raise ValidationError("Say by how much later, or at which time.")
        return {"when": at if later is None else later}


def _move(row: Object, given: Mapping[str, Any]) -> str:
    before, after = operations.put_off(row, given["when"])
    return from_to(before, after)


def from_to(before: datetime | None, after: datetime | None) -> str:
    """Say from when to when, in the operator's zone and in UTC."""
    return f"{_shown(before)} → {_shown(after)}"


def _shown(moment: datetime | None) -> str:
    return "not set" if moment is None else display.in_both_zones(moment)


def _later(span: timedelta) -> Verb:
    text = durations.write(span)

    def becomes(slot: Alarm | None, now: datetime) -> str:
        before = operations.time_of(slot)
        try:
            return from_to(before, operations.later_by(before, span, now))
        except InvalidAlarmTime as error:
            return str(error)

    return Verb(
        f"later_by_{text}",
        f"Later by {text}",
        f"Run these alarms {text} later? They run with all their retries.",
        "Moved",
        lambda handle, row: from_to(*operations.put_off(handle, span)),
        fits=WAITING,
        needs_alarm=True,
        becomes=becomes,
    )


LATER = tuple(map(_later, STEPS))
MOVE = Verb(
    "move_alarms",
    "Move",
    "When are these alarms to run? They run with all their retries.",
    "Moved",
    lambda handle, row: False,
    needs_alarm=True,
    becomes=lambda slot, now: f"Currently {stands(slot)}",
    form=MoveForm,
    call_with=_move,
)
SET = Verb(
    "set_alarms",
    "Set alarm",
    "When are these alarms to run?",
    "Set",
    lambda handle, row: False,
    needs_alarm=False,
    form=MoveForm,
    call_with=_move,
)
