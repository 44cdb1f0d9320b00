"""Which class of objects is which kind, both ways: by Django's content types, in the engine's database."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any, cast

from django.apps import apps
from django.apps.registry import Apps
from django.contrib.contenttypes.models import ContentType, ContentTypeManager
from django.db import connections, models
from django.db.migrations.recorder import MigrationRecorder

from durable_objects import class_attributes
from durable_objects.class_attributes import ObjectClass
from durable_objects.conf import engine
from durable_objects.errors import DurableObjectError

_migrating = False


def content_types() -> ContentTypeManager:
    """Return Django's manager, with its cache, for the database that the engine's tables are in."""
    return _content_types(engine.DATABASE)


def label_of(kind_id: int) -> str:
    """Return the class's label, as admin, commands and files have it; of one that this code lacks ``app.model``."""
    kind = content_types().get_for_id(kind_id)
    model = class_of(kind)
    return f"{kind.app_label}.{kind.model}" if model is None else model._meta.label


def pk_of(app_label: str, model_name: str) -> int:
    """Return the key of a class's content type: created only while ``migrate`` runs, which would do so next.

    Raises ``DurableObjectError`` where it is not there.
    """
    if _migrating:
        _check_tables()
        return content_types().get_or_create(app_label=app_label, model=model_name)[0].pk
    try:
        return content_types().get_by_natural_key(app_label, model_name).pk
    except ContentType.DoesNotExist:
        at = "" if engine.DATABASE == "default" else f" --database {engine.DATABASE}"
        raise DurableObjectError(
            f"{app_label}.{model_name} is not known to the database {engine.DATABASE!r} yet: run migrate{at} (and "
            "makemigrations before, where its app has no migration for it: a proxy needs one too)"
        ) from None


def make(model: type[models.Model]) -> int:
    """Return the key of a class's content type, made where it is not there yet: for receivers of ``post_migrate``.

    Django makes those of an app when its turn comes, which may be after the engine's; and ``flush`` sends no
    ``pre_migrate``.
    """
    return content_types().get_or_create(app_label=model._meta.app_label, model=model._meta.model_name)[0].pk


def classes() -> list[type[models.Model]]:
    """Return the classes of objects that this code has: the subclasses of ``DurableObject``, not that itself."""
    return [model for model in apps.get_models() if _is_kind(model)]


def not_migrated() -> list[type[models.Model]]:
    """Return the classes that the database does not know yet: ``migrate`` has not run since they are there."""
    known = {f"{kind.app_label}.{kind.model}" for kind in content_types().all()}
    return [model for model in classes() if model._meta.label_lower not in known]


def class_of(kind: ContentType) -> type[ObjectClass] | None:
    """Return the class of this kind; None where this code has none of that name, or it is no durable object now."""
    model = kind.model_class()
    return cast("type[ObjectClass]", model) if model is not None and _is_kind(model) else None


def runnable() -> dict[int, type[ObjectClass]]:
    """Return by content type the classes of objects that code and database know and that can be run."""
    labels = {model._meta.label_lower: cast("type[ObjectClass]", model) for model in classes()}
    known = content_types().filter(app_label__in={label.partition(".")[0] for label in labels})
    found = {kind.pk: labels.get(f"{kind.app_label}.{kind.model}") for kind in known}
    return {pk: model for pk, model in found.items() if model is not None and class_attributes.flaw_of(model) is None}


def unknown() -> list[ContentType]:
    """Return the content types of objects whose class this code does not have, or which is no durable object now."""
    rows = apps.get_model("durable_objects", "Object")._base_manager.using(engine.DATABASE)
    kinds = content_types().filter(models.Exists(rows.filter(kind=models.OuterRef("pk"))))
    return [kind for kind in kinds if class_of(kind) is None]


def has_model(apps: Apps, app_label: str, name: str) -> bool:
    """Return whether these apps, of now or of a state of the migrations, have such a model."""
    try:
        apps.get_model(app_label, name)
    except LookupError:
        return False
    return True


def migration_begins(using: str, **kwargs: Any) -> None:
    """Receive ``pre_migrate``: a data migration may use objects of a new class."""
    global _migrating
    _migrating = _migrating or using == engine.DATABASE


def migration_ends(using: str, **kwargs: Any) -> None:
    """Receive ``post_migrate``."""
    global _migrating
    _migrating = _migrating and using != engine.DATABASE


def _is_kind(model: type[models.Model]) -> bool:
    base = apps.get_model("durable_objects", "DurableObject")
    return issubclass(model, base) and model is not base


@functools.cache
def _content_types(alias: str) -> ContentTypeManager:
    return ContentType.objects.db_manager(alias)


def _check_tables() -> None:
    """Refuse a migration that uses an object before the last of the engine's own, which must be a dependency of it."""
    files = resources.files("durable_objects.migrations").iterdir()
    ours = sorted(file.name.removesuffix(".py") for file in files if file.name[:4].isdigit())
    applied = MigrationRecorder(connections[engine.DATABASE]).applied_migrations()
    if any(("durable_objects", name) not in applied for name in ours):
        raise DurableObjectError(
            "a migration uses a durable object before the engine's tables are complete: "
            f'add ("durable_objects", "{ours[-1]}") to its dependencies'
        )
