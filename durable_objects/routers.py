"""A database router for projects that keep the engine's tables in a database of their own."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import models

from durable_objects.conf import engine
from durable_objects.tables import Object


class Router:
    """Sends the engine's models, all classes of objects, and what points to them to ``DURABLE_OBJECTS["DATABASE"]``.

    To be the first of ``DATABASE_ROUTERS``; of every other model it says nothing, so that the next ones decide. Content
    types are migrated there too, beside wherever else.
    """

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        """The engine's database for the engine's."""
        return engine.DATABASE if belongs(model) else None

    def db_for_write(self, model: type[models.Model], **hints: Any) -> str | None:
        """As for reading."""
        return self.db_for_read(model)

    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **hints: Any) -> bool | None:
        """The engine's tables in its database only, and content types there as well."""
        if app_label == "contenttypes":
            return True if db == engine.DATABASE else None
        try:
            ours = belongs(apps.get_model(app_label, model_name)) if model_name else app_label == "durable_objects"
        except LookupError:
            return None
        return db == engine.DATABASE if ours else None


def belongs(model: type[models.Model]) -> bool:
    """Whether the model's rows have to be where the objects are."""
    if model._meta.app_label == "durable_objects" or issubclass(model, Object):
        return True
    links = [field for field in model._meta.concrete_fields if isinstance(field, models.ForeignKey)]
    return any(issubclass(link.related_model, Object) for link in links)
