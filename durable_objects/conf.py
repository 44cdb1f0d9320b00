"""Settings: one dict per app in Django's settings, read when used, unknown names refused."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed


class AppSettings:
    """The dict ``settings.<NAME>`` laid over defaults, one attribute per key.

    A key that no default names raises ``ImproperlyConfigured`` with the known ones, and so does a value of another type
    than its default's. ``override_settings`` works; changing the dict in place, or setting it otherwise, is not seen.
    """

    def __init__(self, name: str, defaults: Mapping[str, Any]) -> None:
        self._name = name
        self._defaults = dict(defaults)
        self._values: dict[str, Any] = {}
        setting_changed.connect(self._forget)

    def __getattr__(self, key: str) -> Any:
        """Asked once for each key: what was read is an attribute from then on, since every call reads some."""
        if key.startswith("_") or key not in self._defaults:
            raise AttributeError(f"{self._name} has no setting {key!r}; known: {', '.join(sorted(self._defaults))}")
        vars(self)[key] = value = self.values()[key]
        return value

    def values(self) -> Mapping[str, Any]:
        """All of them by key."""
        if not self._values:
            self._values = self._defaults | self.read()
        return self._values

    def _forget(self, *, setting: str, **kwargs: Any) -> None:
        """Django has changed a setting, for a test."""
        if setting == self._name:
            self._values = {}
            for key in self._defaults:
                vars(self).pop(key, None)

    def read(self) -> dict[str, Any]:
        """The dict as the project wrote it, checked. Raises ``ImproperlyConfigured``."""
        given = getattr(django_settings, self._name, {})
        known = ", ".join(sorted(self._defaults))
        for key, value in given.items():
            if key not in self._defaults:
                raise ImproperlyConfigured(f"{self._name} has an unknown key {key!r}; known keys: {known}")
            expected = type(self._defaults[key])
            is_of_type = isinstance(value, expected) and (type(value) is not bool or expected is bool)
            if self._defaults[key] is not None and not is_of_type:
                given_type = type(value).__name__  # the value may be secret
                raise ImproperlyConfigured(f"{self._name}[{key!r}] is a {given_type}; expected a {expected.__name__}")
        return dict(given)


engine = AppSettings(
    "DURABLE_OBJECTS",
    {
        # How long a run that unlocked keeps its object while nobody renews it.
        "LEASE": timedelta(seconds=60),
        # How long a call waits for an object before it raises ObjectBusy.
        "LOCK_TIMEOUT": timedelta(seconds=5),
        # Alarms due within this time have a Celery message out; later ones wait as rows only.
        "HORIZON": timedelta(seconds=60),
        # How often the dispatcher passes.
        "DISPATCH_EVERY": timedelta(seconds=5),
        # At most this many wake-ups are out at a time.
        "MAX_OUT": 1000,
        # Runs kept per object, and for how long; the last dead run of an object is always kept.
        "HISTORY_PER_OBJECT": 100,
        "HISTORY_FOR": timedelta(days=30),
        # The database that the engine's tables are in.
        "DATABASE": "default",
        # Who dispatches: "beat" (django-celery-beat or CELERY_BEAT_SCHEDULE) or "command".
        "DISPATCHED_BY": "beat",
    },
)
