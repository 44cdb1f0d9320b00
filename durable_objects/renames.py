"""After ``migrate``: objects follow their class when it was renamed.

Django renames the class's content type itself, unless one of the new name exists already; then the objects would stay
with a content type that no class has.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.migrations import Migration
from django.db.migrations.operations import RenameModel

from durable_objects.errors import DurableObjectError
from durable_objects.rows import Object


def merge_renamed_kinds(using: str, plan: Iterable[tuple[Migration, bool]] = (), **kwargs: Any) -> None:
    """Receiver of ``post_migrate``: move what a ``RenameModel`` of this run left behind to the new content type.

    Raises ``DurableObjectError`` naming the clash, and moves nothing, when both have an object of the same name.
    """
    for migration, backwards in plan:
        for operation in migration.operations:
            if isinstance(operation, RenameModel):
                old, new = operation.old_name_lower, operation.new_name_lower
                _merge(using, migration.app_label, *((new, old) if backwards else (old, new)))


def _merge(using: str, app_label: str, old: str, new: str) -> None:
    types = {ct.model: ct for ct in ContentType.objects.using(using).filter(app_label=app_label, model__in=[old, new])}
    if old not in types or new not in types:
        return
    left_behind = Object.objects.using(using).filter(kind=types[old])
    with transaction.atomic(using=using):
        taken = Object.objects.using(using).filter(kind=types[new], name__in=left_behind.values("name"))
        clash = list(taken.values_list("name", flat=True)[:5])
        if clash:
            raise DurableObjectError(
                f"{app_label}.{old} was renamed to {new}, and both have objects named {clash}: rename or delete those "
                "of one class, then run migrate again. Nothing was moved."
            )
        left_behind.update(kind=types[new])
