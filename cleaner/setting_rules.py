"""The rules for a cleaner's settings: how often, how old, and which models, by ``settings.CLEANER``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import models

from cleaner.conf import defaults
from durable_objects import InvalidInput
from durable_objects.models import Object
from durable_objects.validation import refusal, show

LEAST_INTERVAL = timedelta(seconds=1)
LONGEST = timedelta(days=36500)


def check(changes: Mapping[str, Any]) -> None:
    """Raise ``InvalidInput`` for the first span that is refused, naming the value and what is allowed."""
    limits = {"interval": LEAST_INTERVAL, "max_age": timedelta(0)}
    for name, value in changes.items():
        if value is not None and not (isinstance(value, timedelta) and limits[name] <= value <= LONGEST):
            raise refusal(f"{name} is {show(value)}", f"a timedelta from {limits[name]} to {LONGEST}")


def allowed_models() -> dict[str, list[str]]:
    """Return the labels of the models that may be cleaned, each with its fields, as the settings name them."""
    given: dict[str, str | list[str]] = defaults.MODELS
    return {label: [fields] if isinstance(fields, str) else list(fields) for label, fields in given.items()}


def choose(label: str, field: str) -> tuple[str, str]:
    """Return the model and its field, as ``MODELS`` writes them; the field may be left out where there is only one.

    Raises ``InvalidInput`` for what is not allowed, naming what is.
    """
    allowed = allowed_models()
    written = next((name for name in allowed if name.lower() == str(label).lower()), None)
    if written is None:
        known = ", ".join(allowed) or "none, CLEANER['MODELS'] is empty"
        raise refusal(f"model is {show(label)}", f"the models of CLEANER['MODELS']: {known}")
    fields = allowed[written]
    if not field and len(fields) == 1:
        field = fields[0]
    if field not in fields:
        raise refusal(f"field is {show(field)}", f"for {written}: {', '.join(fields)}")
    return written, field


def resolve(label: str, field: str) -> tuple[type[models.Model], models.Field[Any, Any]]:
    """Return the model class and its field. Raises ``InvalidInput`` saying why rows cannot be cleaned by it."""
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError) as error:
        raise InvalidInput(f"CLEANER['MODELS'] names {show(label)}: there is no such model ({error}).") from error
    if issubclass(model, Object) or model._meta.app_label == Object._meta.app_label:
        raise InvalidInput(f"CLEANER['MODELS'] names {label}: only the engine deletes rows of durable objects.")
    if isinstance(model._meta.pk, models.CompositePrimaryKey):
        raise InvalidInput(f"{label} has a composite primary key: its rows cannot be walked in key order.")
    try:
        found = model._meta.get_field(field)
    except FieldDoesNotExist as error:
        names = [f.name for f in model._meta.concrete_fields if isinstance(f, models.DateTimeField)]
        some = ", ".join(names) or "none"
        raise InvalidInput(f"{label} has no field {show(field)}. Its fields of time: {some}.") from error
    if not isinstance(found, models.DateTimeField):
        kind = type(found).__name__
        raise InvalidInput(f"{label}.{field} is a {kind}: a cleaner needs a DateTimeField.")
    return model, found
