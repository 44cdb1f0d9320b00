"""What holds alarms back: pauses, written by ``alarms.pauses``; limits of classes, by ``alarms.limits``."""

from __future__ import annotations

from typing import ClassVar, Self

from django.contrib.contenttypes.models import ContentType
from django.db import models

from durable_objects.database.fields import MomentField
from durable_objects.tables.columns import RowManager
from durable_objects.tables.objects import Object


class Pause(models.Model):
    """What is paused: everything, the objects of a class, or one object. While it stands, no run of theirs starts."""

    class Scope(models.TextChoices):
        """``class``: one of Django's content types, so also one that this code does not have."""

        EVERYTHING = "everything"
        CLASS = "class"
        OBJECT = "object"

    id = models.BigAutoField(primary_key=True)
    scope = models.CharField(max_length=10, choices=Scope.choices)
    kind = models.OneToOneField(ContentType, on_delete=models.CASCADE, null=True, related_name="+")
    object = models.OneToOneField(Object, on_delete=models.CASCADE, null=True, related_name="+")
    reason = models.TextField(default="", blank=True)
    #: Who asked for it: a user of the admin, or of the machine.
    by = models.CharField(max_length=150, default="", blank=True)
    since = MomentField()
    #: When it ends by itself; None: when it is resumed.
    until = MomentField(null=True)

    objects: ClassVar[RowManager[Self]] = RowManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["scope"], condition=models.Q(scope="everything"), name="durable_objects_one_pause_of_all"
            ),
            models.CheckConstraint(
                condition=models.Q(scope="everything", kind=None, object=None)
                | models.Q(scope="class", kind__isnull=False, object=None)
                | models.Q(scope="object", kind=None, object__isnull=False),
                name="durable_objects_pause_of_one_thing",
            ),
        ]

    def __str__(self) -> str:
        if self.kind is None:
            return f"pause of {'an object' if self.object_id else 'everything'}"  # no name: the log shows it to others
        model = self.kind.model_class()
        return f"pause of {model._meta.label if model else f'{self.kind.app_label}.{self.kind.model}'}"


class ClassLimit(models.Model):
    """When runs of a class with ``alarm_concurrency`` or ``alarm_rate`` start. Who starts one locks this row."""

    kind = models.OneToOneField(ContentType, on_delete=models.CASCADE, primary_key=True, related_name="+")
    #: Before this time no further run starts; and when the last one did.
    next_start_at = MomentField(null=True)
    last_start_at = MomentField(null=True)

    objects: ClassVar[RowManager[Self]] = RowManager()

    def __str__(self) -> str:
        return f"limit of {self.kind_id}"
