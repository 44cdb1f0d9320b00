"""Which class of objects is which kind, both ways: by Django's content types, in the engine's database."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from difflib import get_close_matches
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

_BY_LABEL = ("app_label", "model")

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


class Key(models.Subquery):
    """The key of a class's content type in a query, which is built without one: a number where this process knows it.

    By a number the database can tell whether a class has most of the rows or few; by a subquery it takes all classes
    for equally large.
    """

    def __init__(self, app_label: str, model_name: str) -> None:
        self._label = (app_label, model_name)
        super().__init__(content_types().filter(app_label=app_label, model=model_name).values("pk")[:1])

    def as_sql(self, compiler: Any, connection: Any, *args: Any, **context: Any) -> Any:
        """Return the number as a parameter, else the subquery."""
        known = content_types()._cache.get(connection.alias, {}).get(self._label)  # type: ignore[attr-defined]  # as above
        return super().as_sql(compiler, connection, *args, **context) if known is None else ("%s", [known.pk])


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


def class_by_pk(kind_id: int) -> type[ObjectClass] | None:
    """Return the class of the kind with this key, as ``class_of``; None where the database has no such kind either."""
    try:
        return class_of(content_types().get_for_id(kind_id))
    except ContentType.DoesNotExist:
        return None


def has(kind_id: int) -> bool:
    """Return whether the database has a content type with this key. No query for one that this process knows."""
    try:
        content_types().get_for_id(kind_id)
    except ContentType.DoesNotExist:
        return False
    return True


def runnable() -> dict[int, type[ObjectClass]]:
    """Return by content type the classes of objects that code and database know and that can be run."""
    return runnable_of(of_runnable())


def of_runnable() -> models.QuerySet[ContentType]:
    """Return, not read yet, the content types of the classes that this code has and that can be run."""
    sound = [model._meta for model in classes() if class_attributes.flaw_of(model) is None]
    named = [models.Q(app_label=each.app_label, model=each.model_name) for each in sound]
    return content_types().filter(functools.reduce(operator.or_, named, models.Q(pk__in=[])))


def runnable_of(known: Iterable[ContentType]) -> dict[int, type[ObjectClass]]:
    """Return by content type those of these whose class the code has, and that can be run."""
    found = {kind.pk: class_of(kind) for kind in known}
    return {pk: model for pk, model in found.items() if model is not None and class_attributes.flaw_of(model) is None}


def of_class(model: type[models.Model]) -> list[int]:
    """Return the content types of those of ``runnable`` that are this class or a subclass of it."""
    return [pk for pk, known in runnable().items() if issubclass(known, model)]


def used() -> list[ContentType]:
    """Return the content types that have objects, by label. One query, which looks each up in an index."""
    rows = apps.get_model("durable_objects", "Object")._base_manager.using(engine.DATABASE)
    manager = content_types()
    found = list(manager.filter(models.Exists(rows.filter(kind=models.OuterRef("pk")))).order_by(*_BY_LABEL))
    for kind in found:  # Django has no other way to tell its cache: ``get_for_models`` makes what is missing
        manager._add_to_cache(manager.db, kind)  # type: ignore[attr-defined]  # the stubs leave it out
    return found


def unknown() -> list[ContentType]:
    """Return those of ``used`` whose class this code does not have, or which is no durable object now."""
    return [kind for kind in used() if class_of(kind) is None]


def find(label: str) -> ContentType | None:
    """Return the content type of this label, of a class of objects here or of one that is gone and has objects."""
    known = next((model for model in classes() if model._meta.label_lower.lower() == label.lower()), None)
    if known is not None:
        return _known(known)
    app, _, name = label.lower().partition(".")
    kind = content_types().filter(app_label__iexact=app, model=name).first()
    return kind if kind is not None and (class_of(kind) is not None or kind in unknown()) else None


def _known(model: type[models.Model]) -> ContentType | None:
    try:
        return content_types().get_by_natural_key(model._meta.app_label, str(model._meta.model_name))
    except ContentType.DoesNotExist:  # it is not migrated
        return None


def hint(label: str) -> str:
    """Say what a label looks like, and which of those in this code and database come near this one."""
    labels = sorted(
        [model._meta.label for model in classes()] + [f"{kind.app_label}.{kind.model}" for kind in unknown()]
    )
    by_name = {each.lower().rpartition(".")[2]: each for each in labels}
    wanted = label.lower().rpartition(".")[2]
    near = [each for each in labels if each.lower().rpartition(".")[2] == wanted]
    near = near or [by_name[name] for name in get_close_matches(wanted, by_name)]
    named = f"did you mean {' or '.join(near)}?" if near else "`manage.py objects list` shows those that have objects"
    return f"KIND is app_label.ClassName; {named}"


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
