"""System checks: what ``CLEANER["MODELS"]`` names must exist and be fit for cleaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register

from cleaner.conf import defaults
from cleaner.setting_rules import allowed_models, resolve
from durable_objects import InvalidInput


@register
def check_models(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that every model exists, is not the engine's own, and has its fields of time."""
    if defaults.flaw():
        return []  # durable_objects.E010 reports it
    found: list[CheckMessage] = []
    for label, fields in allowed_models().items():
        for field in fields or [""]:
            try:
                resolve(label, field)
            except InvalidInput as error:
                hint = 'Write CLEANER = {"MODELS": {"app.Model": "its DateTimeField"}}, or a list of such fields.'
                found.append(Error(str(error), hint=hint, id="cleaner.E002"))
    return found
