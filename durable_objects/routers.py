"""A database router for projects that keep the engine's tables in a database of their own."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import models

from durable_objects.conf import engine
from durable_objects.tables import Object


class Router:
    """Sends the engine's models, all classes of objects, and what points to them to ``DURABLE_OBJECTS["DATABASE"]``.

    To be the first of ``DATABASE_ROUTERS``; about every other model it has no opinion, so that the next ones decide.
    Content types are migrated there too, beside wherever else.
    """

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        """Return the engine's database for the engine's models."""
        return engine.DATABASE if belongs(model) else None

    def db_for_write(self, model: type[models.Model], **hints: Any) -> str | None:
        """Return the same as for reading."""
        return self.db_for_read(model)

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **hints: Any) -> bool | None:
        """Allow the engine's tables in its database only, and content types there as well."""
        if app_label == "contenttypes":
            return True if db == engine.DATABASE else None
        try:
            ours = belongs(apps.get_model(app_label, model_name)) if model_name else app_label == "durable_objects"
        except LookupError:
            return None
        return db == engine.DATABASE if ours else None


def belongs(model: type[models.Model]) -> bool:
    """Return whether the model's rows have to be in the database that the objects are in."""
    if model._meta.app_label == "durable_objects" or issubclass(model, Object):
        return True
    links = [field for field in model._meta.concrete_fields if isinstance(field, models.ForeignKey)]
    return any(issubclass(link.related_model, Object) for link in links)
