"""The content types that tell classes of objects apart: those of the engine's own database, whatever a router says."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

from django.contrib.contenttypes.models import ContentType, ContentTypeManager
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

from durable_objects.conf import engine
from durable_objects.errors import DurableObjectError

_migrating = False


def content_types() -> ContentTypeManager:
    """Django's manager, with its cache, for the database that the engine's tables are in."""
    return _content_types(engine.DATABASE)


def label_of(kind_id: int) -> str:
    """``app.model``, as commands take it and files have it."""
    kind = content_types().get_for_id(kind_id)
    return f"{kind.app_label}.{kind.model}"


def pk_of(app_label: str, model_name: str) -> int:
    """The key of a class's content type: looked up, and made only while ``migrate`` runs, which would make it next.

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


def migration_begins(using: str, **kwargs: Any) -> None:
    """Receiver of ``pre_migrate``: a data migration may use objects of a class that is new."""
    global _migrating
    _migrating = _migrating or using == engine.DATABASE


def migration_ends(using: str, **kwargs: Any) -> None:
    """Receiver of ``post_migrate``."""
    global _migrating
    _migrating = _migrating and using != engine.DATABASE


@functools.cache
def _content_types(alias: str) -> ContentTypeManager:
    return ContentType.objects.db_manager(alias)


def _check_tables() -> None:
    """A migration that uses an object runs after all of the engine's own: their last one must be among its
    dependencies.
    """
    files = resources.files("durable_objects.migrations").iterdir()
    ours = sorted(file.name.removesuffix(".py") for file in files if file.name[:4].isdigit())
    applied = MigrationRecorder(connections[engine.DATABASE]).applied_migrations()
    if any(("durable_objects", name) not in applied for name in ours):
        raise DurableObjectError(
            "a migration uses a durable object before the engine's tables are complete: "
            f'add ("durable_objects", "{ours[-1]}") to its dependencies'
        )
