"""The work of ``celery_by_hand`` as a task of django-ox: lock a row, change it, save it, in one transaction."""

from __future__ import annotations

from typing import ClassVar

from django.db import models, transaction
from django.tasks import task


class Profile(models.Model):
    """The table of ``tests.models.Profile``, which the benchmark has made."""

    object_id = models.BigIntegerField(primary_key=True)  # of the object that it belongs to
    text = models.CharField(max_length=100)

    objects: ClassVar[models.Manager[Profile]] = models.Manager()

    class Meta:
        app_label = "tests"
        managed = False


@task
def save(pk: int) -> None:
    """Save one row of a model, under its lock."""
    with transaction.atomic():
        row = Profile.objects.select_for_update().get(pk=pk)
        row.text = f"{row.text}."[-20:]
        row.save(update_fields=["text"])
