"""Verbs: what an operator can do to an object in admin, after a question, and those that every object has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import forms

from durable_objects.admin import display
from durable_objects.admin.forms import CopyForm, OptionalReasonForm, PauseForm, ReasonForm
from durable_objects.models import DurableObject
from durable_objects.operations import actions as operations
from durable_objects.operations import bulk_verbs, copies, pauses
from durable_objects.tables import Alarm, Object


@dataclass(frozen=True)
class Verb:
    """Something to do to an object, given its handle and the row that was chosen.

    ``call`` returns False if there was nothing to do, and raises if it was refused. ``permission`` (``change``, ``add``
    or ``delete``) is checked for the object's own class. ``fits`` are the states of the alarm in which a page offers
    it; None: all. ``effect`` describes what it would change of one object, for the question, and ``preview`` is the
    text that it would send out; a text that ``call`` returns describes what it did, for the message. ``without_class``
    does it to the row of an object whose class this code does not have; None: not possible. ``form`` asks for more with
    the question; what was given is passed to ``call_with`` together with ``by``, the user's name: that is called in
    place of the other two. ``because`` is called in place of ``call`` where the row keeps the reason too: with it, or
    "". ``is_risky`` tells of which rows alone it cannot be undone. ``of_many`` names the verb of
    ``operations.bulk_verbs`` that does it to everything that matches. ``needs_alarm``: offered only where the object's
    own alarm is set (or dead), or only where it is not; None:
    in both cases. ``becomes`` says in the question from when to when it moves the alarm. ``tone`` is the button's:
    ``quiet`` for what is rarely meant, ``danger`` for what cannot be undone: the question asks why, and the log has it.
    """

    name: str
    label: str
    question: str
    done: str
    call: Callable[[DurableObject, Any], object]
    permission: str = "change"
    fits: frozenset[str] | None = None
    without_class: Callable[[Object], object] | None = None
    effect: Callable[[DurableObject], str] | None = None
    preview: Callable[[DurableObject, Any], str] | None = None
    form: type[forms.Form] | None = None
    call_with: Callable[[Object, dict[str, Any]], object] | None = None
    because: Callable[[DurableObject, Any, str], object] | None = None
    is_risky: Callable[[Any], bool] | None = None
    of_many: str = ""
    needs_alarm: bool | None = None
    becomes: Callable[[Alarm | None, datetime], str] | None = None
    tone: str = ""

    @property
    def is_destructive(self) -> bool:
        """Whether it cannot be undone: its button says so, or what it is called on many."""
        of_many = bulk_verbs.find(self.of_many)
        return self.tone == "danger" or (of_many is not None and of_many.is_destructive)

    @property
    def keeps_reason(self) -> bool:
        """Whether its question asks why, for the history of each object."""
        return self.is_destructive or self.because is not None

    def asked_with(self) -> type[forms.Form] | None:
        """Return the form of its question; None: a yes is enough."""
        if self.form is not None or not self.keeps_reason:
            return self.form
        return ReasonForm if self.is_destructive else OptionalReasonForm


FIRE_NOW = Verb(
    "fire_now",
    "Run now",
    "Run these alarms now?",
    "Set to run now",
    lambda handle, row: operations.fire_now(handle),
    fits=frozenset({"idle", "armed", "retrying", "due", "overdue", "limited", "paused"}),
    of_many="run",
    becomes=lambda slot, now: _from_to(slot, f"now ({display.in_both_zones(now)})"),
)
CANCEL = Verb(
    "cancel_alarms",
    "Cancel alarm",
    "Cancel these alarms? What they were set for will not happen.",
    "Alarm cancelled",
    lambda handle, row: operations.cancel(handle),
    fits=frozenset({"armed", "retrying", "due", "overdue", "limited", "paused", "dead", "running", "parked"}),
    without_class=operations.cancel,
    of_many="cancel",
    needs_alarm=True,
    becomes=lambda slot, now: _from_to(slot, "not set"),
    tone="danger",
)
REVIVE = Verb(
    "revive",
    "Revive",
    "Revive these dead alarms? They run now, with all their retries.",
    "Revived",
    lambda handle, row: operations.revive(handle),
    fits=frozenset({"dead"}),
    of_many="revive",
)
DELETE = Verb(
    "delete_objects",
    "Delete with storage, alarm and history",
    "Delete these objects with their storage, alarm and history? This cannot be undone.",
    "Deleted",
    lambda handle, row: handle.delete(),
    permission="delete",
    without_class=operations.delete,
    of_many="delete",
    tone="danger",
)
PAUSE = Verb(
    "pause_objects",
    "Pause",
    "Pause these objects? Their alarms keep their times, and run once they are resumed. No run is stopped.",
    "Paused",
    lambda handle, row: pauses.pause(handle),
    without_class=pauses.pause,
    form=PauseForm,
    call_with=lambda row, given: pauses.pause(row, **given),
    of_many="pause",
    tone="quiet",
)
RESUME = Verb(
    "resume_objects",
    "Resume",
    "Resume these objects? What has come due meanwhile runs at once.",
    "Resumed",
    lambda handle, row: pauses.resume(handle),
    without_class=pauses.resume,
    of_many="resume",
)


def stands(slot: Alarm | None) -> str:
    """Say when the alarm itself is due; of one that is not armed that it is dead, or not set."""
    if (due := operations.time_of(slot)) is not None:
        return display.in_both_zones(due)
    return "dead" if slot is not None and slot.state == Alarm.State.DEAD else "not set"


def _from_to(slot: Alarm | None, after: str) -> str:
    return f"{stands(slot)} → {after}"


def _copy(row: Object, given: dict[str, Any]) -> str:
    copied = copies.copy(row, **given)
    return f"to {display.label(copied.name)}, {'armed' if given['armed'] else 'paused'}, entries: {copied.entries}"


COPY = Verb(
    "copy_objects",
    "Copy under another name",
    "Store this object again under another name, with its entries, own fields, alarm and schedules? What apps keep of "
    "it in tables of their own is not copied.",
    "Copied",
    lambda handle, row: False,
    permission="add",
    form=CopyForm,
    call_with=_copy,
    tone="quiet",
)
