"""After ``migrate``: objects follow their class when it was renamed.

Django renames the class's content type itself, unless one of the new name exists already; then the objects would stay
with a content type that no class has.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps as installed
from django.apps.registry import Apps
from django.contrib.contenttypes.models import ContentType
from django.db import connections, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.operations import RenameModel

from durable_objects import kinds
from durable_objects.alarms import pauses
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.errors import DurableObjectError
from durable_objects.tables import Alarm, Object, Schedule

#: App label, old name, new name.
Rename = tuple[str, str, str]


def merge_renamed_kinds(using: str, apps: Apps = installed, **kwargs: Any) -> None:
    """Move objects of a class that is gone to what the migrations renamed it to: a receiver of ``post_migrate``.

    Whatever this run of ``migrate`` did itself, so that one that was refused can be run again. Raises
    ``DurableObjectError`` naming the clash, and moves nothing, when both classes have an object of the same name.
    """
    if using != engine.DATABASE or not kinds.has_model(apps, "durable_objects", "object"):
        return
    used = Object.objects.using(using).order_by().values("kind").distinct()
    lost = [kind for kind in ContentType.objects.using(using).filter(pk__in=used) if kind.model_class() is None]
    renames = _renames(using) if lost else []
    for kind in lost:
        name = _name_now(kind, renames) or _name_now(kind, [(app, new, old) for app, old, new in reversed(renames)])
        if name:
            _move(using, kind, name)


def _renames(using: str) -> list[Rename]:
    executor = MigrationExecutor(connections[using])
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes(), clean_start=True)
    return [
        (migration.app_label, operation.old_name_lower, operation.new_name_lower)
        for migration, _ in plan
        for operation in migration.operations
        if isinstance(operation, RenameModel)
    ]


def _name_now(kind: ContentType, renames: list[Rename]) -> str | None:
    """Return what the renames, one after the other, made of this class, if that is a class that is there."""
    name = kind.model
    for app_label, old, new in renames:
        if (app_label, old) == (kind.app_label, name):
            name = new
    return name if kinds.has_model(installed, kind.app_label, name) else None


def _move(using: str, kind: ContentType, name: str) -> None:
    with transaction.atomic(using=using):
        new, _ = ContentType.objects.using(using).get_or_create(app_label=kind.app_label, model=name)
        left_behind = Object.objects.using(using).filter(kind=kind)
        taken = Object.objects.using(using).filter(kind=new, name__in=left_behind.values("name"))
        clash = list(taken.values_list("name", flat=True)[:5])
        if clash:
            raise DurableObjectError(
                f"{kind.app_label}.{kind.model} was renamed to {name}, and both have objects named {clash}: rename or "
                "delete those of one class, then run migrate again. Nothing was moved."
            )
        left_behind.update(kind=new)
        for model in (Alarm, Schedule):
            model.objects.using(using).filter(kind=kind).update(kind=new)
        pauses.move(kind.pk, new.pk, clock.now())
