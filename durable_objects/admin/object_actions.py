"""Verbs: what an operator can do to objects, one turn each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from durable_objects.models import DurableObject
from durable_objects.operations import actions
from durable_objects.tables import Object


@dataclass(frozen=True)
class Verb:
    """Something to do to an object, given its handle and the row that was chosen.

    ``call`` returns False when there was nothing to do, and raises when it was refused. ``permission`` (``change`` or
    ``delete``) is asked of the object's own class. ``fits`` are the states of the alarm in which a page offers it;
    None: always. ``effect`` says what it would change of one object, for the question; a text that ``call`` returns
    says what it did, for the answer. ``without_class`` does it to the row of an object whose class this code does not
    have; None: nothing does.
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


FIRE_NOW = Verb(
    "fire_now",
    "Fire now",
    "Let these alarms run now?",
    "Told to run now",
    lambda handle, row: actions.fire_now(handle),
    fits=frozenset({"idle", "armed", "retrying", "due", "overdue"}),
)
CANCEL = Verb(
    "cancel_alarms",
    "Cancel alarm",
    "Take these alarms away? What they were set for will not happen.",
    "Alarm cancelled",
    lambda handle, row: actions.cancel(handle),
    fits=frozenset({"armed", "retrying", "due", "overdue", "dead", "running", "parked"}),
    without_class=actions.cancel,
)
REVIVE = Verb(
    "revive",
    "Revive",
    "Let these dead alarms run again, now and with all their retries?",
    "Revived",
    lambda handle, row: actions.revive(handle),
    fits=frozenset({"dead"}),
)
DELETE = Verb(
    "delete_objects",
    "Delete with storage, alarm and history",
    "Delete these objects with all of their storage, alarm and history? This cannot be undone.",
    "Deleted",
    lambda handle, row: handle.delete(),
    permission="delete",
    without_class=actions.delete,
)
