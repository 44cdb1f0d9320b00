"""Settings: one dict per app in Django's settings, read when used, unknown names refused."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured


class AppSettings:
    """The dict ``settings.<NAME>`` laid over defaults, one attribute per key.

    Values are looked up at each read, so ``override_settings`` works; changing the dict in place does not. A key that
    no default names raises ``ImproperlyConfigured`` with the known ones, and so does a value of another type than its
    default's.
    """

    def __init__(self, name: str, defaults: Mapping[str, Any]) -> None:
        self._name = name
        self._defaults = dict(defaults)
        self._read: tuple[object, dict[str, Any]] = (self, {})

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_") or key not in self._defaults:
            raise AttributeError(f"{self._name} has no setting {key!r}; known: {', '.join(sorted(self._defaults))}")
        return self.values()[key]

    def values(self) -> dict[str, Any]:
        """All of them by key; not to be changed."""
        given = getattr(django_settings, self._name, None)
        known, values = self._read
        if given is not known:  # each dict that the project sets is checked once
            values = self._defaults | self.read()
            self._read = (given, values)
        return values

    def read(self) -> dict[str, Any]:
        """The dict as the project wrote it, checked. Raises ``ImproperlyConfigured``."""
        given = getattr(django_settings, self._name, {})
        known = ", ".join(sorted(self._defaults))
        for key, value in given.items():
            if key not in self._defaults:
                raise ImproperlyConfigured(f"{self._name} has an unknown key {key!r}; known keys: {known}")
            expected = type(self._defaults[key])
            if self._defaults[key] is not None and not isinstance(value, expected):
                raise ImproperlyConfigured(f"{self._name}[{key!r}] is {value!r}; expected a {expected.__name__}")
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
