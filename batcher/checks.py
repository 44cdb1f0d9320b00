"""Checks for ``manage.py check``: settings that would otherwise fail at the first post."""

from __future__ import annotations

from typing import Any

from django.core import checks

from batcher.conf import defaults
from batcher.errors import InvalidSetting
from batcher.setting_rules import RULES, check


@checks.register
def check_settings(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Check ``settings.BATCHER`` by the rules of ``configure()``."""
    if defaults.flaw():
        return []  # durable_objects.E010 reports it
    found: list[checks.CheckMessage] = []
    values = defaults.values()
    for name in RULES:
        try:
            check({name: values[name.upper()]})
        except InvalidSetting as refused:
            found.append(checks.Error(f"BATCHER[{name.upper()!r}]: {refused}", id="batcher.E001"))
    return found
