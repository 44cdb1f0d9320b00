"""System checks: what ``CLEANER["MODELS"]`` allows must be there to be cleaned."""

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
    """Every model exists, is nobody else's to delete, and has its fields of time."""
    if defaults.flaw():
        return []  # told by durable_objects.E010
    found: list[CheckMessage] = []
    for label, fields in allowed_models().items():
        for field in fields or [""]:
            try:
                resolve(label, field)
            except InvalidInput as error:
                hint = 'Write CLEANER = {"MODELS": {"app.Model": "its DateTimeField"}}, or a list of such fields.'
                found.append(Error(str(error), hint=hint, id="cleaner.E002"))
    return found
