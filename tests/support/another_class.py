"""Objects that become those of another class, with the rows that have it too."""

from __future__ import annotations

from typing import Any

from django.contrib.contenttypes.models import ContentType

from durable_objects.tables import Alarm, Object, Schedule


def make_of(kind: ContentType, **which: Any) -> None:
    """Make the objects that are chosen so, or all, of this class."""
    keys = list(Object.objects.filter(**which).values_list("pk", flat=True))
    Object.objects.filter(pk__in=keys).update(kind=kind)
    for model in (Alarm, Schedule):
        model.objects.filter(object__in=keys).update(kind=kind)
