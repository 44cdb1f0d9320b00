"""Settings: one dict per app in Django's settings, read when used, unknown names refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from typing import Any, ClassVar

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed


@dataclass(frozen=True, slots=True)
class Within:
    """A setting with bounds: its default, and the least and the most that it may be."""

    default: Any
    least: Any
    most: Any

    def refused(self, value: Any) -> str | None:
        """Return what is wrong with a value of the default's type; None if nothing is."""
        if self.least <= value <= self.most:
            return None
        least, most = (f"{each:,}" if isinstance(each, int) else each for each in (self.least, self.most))
        return f"is {value}; allowed: from {least} to {most}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """A setting with one of these values; the first one is the default."""

    values: tuple[str, ...]

    @property
    def default(self) -> str:
        """The first one."""
        return self.values[0]

    def refused(self, value: str) -> str | None:
        """Return what is wrong with a text; None if nothing is."""
        return None if value in self.values else f"is {value!r}; allowed: {', '.join(map(repr, self.values))}"


@dataclass(frozen=True, slots=True)
class Checked:
    """A setting with a rule: its default, and a function that returns what is wrong with a value, None for nothing."""

    default: Any
    refused: Callable[[Any], str | None]


class AppSettings:
    """The dict ``settings.<NAME>`` laid over defaults, one attribute per key.

    A key that no default names raises ``ImproperlyConfigured`` with the known ones, and so does a value of another type
    than its default's, or one that a ``Within``, ``OneOf`` or ``Checked`` in the default's place does not allow.
    ``override_settings`` works; changing the dict in place, or setting it otherwise, is not seen.
    """

    #: All that there are in this process, by name: for the system check.
    made: ClassVar[dict[str, AppSettings]] = {}

    def __init__(self, name: str, defaults: Mapping[str, Any]) -> None:
        self._name = name
        self._bounds = {key: value for key, value in defaults.items() if isinstance(value, Within | OneOf | Checked)}
        self._defaults = dict(defaults) | {key: bounds.default for key, bounds in self._bounds.items()}
        self._values: dict[str, Any] = {}
        self.made[name] = self
        setting_changed.connect(self._forget)

    def __getattr__(self, key: str) -> Any:
        """Read a setting once: it is an attribute from then on, since every call reads some."""
        if key.startswith("_") or key not in self._defaults:
            raise AttributeError(f"{self._name} has no setting {key!r}; known: {', '.join(sorted(self._defaults))}")
        vars(self)[key] = value = self.values()[key]
        return value

    def default(self, key: str) -> Any:
        """Return what a setting is where the project says nothing: for code that runs as the settings are made."""
        return self._defaults[key]

    def values(self) -> Mapping[str, Any]:
        """Return all of them by key."""
        if not self._values:
            self._values = self._defaults | self.read()
        return self._values

    def _forget(self, *, setting: str, **kwargs: Any) -> None:
        """Read all again after Django has changed the setting, for a test."""
        if setting == self._name:
            self._values = {}
            for key in self._defaults:
                vars(self).pop(key, None)

    def flaw(self) -> str | None:
        """Return why the dict is refused; None when it can be read."""
        try:
            self.read()
        except ImproperlyConfigured as error:
            return str(error)
        return None

    def read(self) -> dict[str, Any]:
        """Return the dict as the project wrote it, checked. Raises ``ImproperlyConfigured``."""
        given = getattr(django_settings, self._name, {})
        if not isinstance(given, Mapping):
            kind = type(given).__name__
            raise ImproperlyConfigured(f"{self._name} is of type {kind}; expected a dict, empty or not there")
        known = ", ".join(sorted(self._defaults))
        for key, value in given.items():
            if key not in self._defaults:
                raise ImproperlyConfigured(f"{self._name} has an unknown key {key!r}; known keys: {known}")
            if why := self.refused(key, value):
                raise ImproperlyConfigured(f"{self._name}[{key!r}] {why}")
        return dict(given)

    def refused(self, key: str, value: Any) -> str | None:
        """Return what is wrong with a value for this known key, to stand behind its name; None if nothing is."""
        expected = type(self._defaults[key])
        is_of_type = isinstance(value, expected) and (type(value) is not bool or expected is bool)
        if self._defaults[key] is not None and not is_of_type:
            return f"is of type {type(value).__name__}; expected {expected.__name__}"  # the value may be secret
        return self._bounds[key].refused(value) if key in self._bounds else None


def require_packages(app: str, extra: str, *modules: str) -> None:
    """Raise ``ImproperlyConfigured`` for an app in INSTALLED_APPS unless all that its extra brings is installed."""
    if missing := [module for module in modules if find_spec(module) is None]:
        raise ImproperlyConfigured(
            f"{app} is in INSTALLED_APPS and needs {', '.join(missing)}, not installed here: "
            f'pip install "django-durable-objects[{extra}]"'
        )


def require_time_zones(app: str) -> None:
    """Raise ``ImproperlyConfigured`` for an app whose times would be off by the zone's offset without ``USE_TZ``."""
    if not django_settings.USE_TZ:
        raise ImproperlyConfigured(
            f"{app} needs USE_TZ = True, Django's default: without it the times that it stores are read back without a "
            "zone, off by the offset of TIME_ZONE. Durable objects of your own work either way."
        )


def token_flaw(token: str) -> str | None:
    """Return what is wrong with a bearer token that opens something, without showing it; None for none at all."""
    least = 16
    allowed = f"allowed: at least {least} characters, as `openssl rand -base64 32` makes them"
    if token and not (token.isascii() and token.split() == [token]):
        return f"has a blank, a line's end or a sign that is not ASCII, so that no request can match it; {allowed}"
    return f"can be guessed; {allowed}" if 0 < len(token) < least else None


def _tracing_flaw(wanted: bool) -> str | None:
    """Return why there can be no traces; None if none are wanted."""
    if not wanted or (find_spec("opentelemetry") and find_spec("opentelemetry.trace")):
        return None
    return 'is True, and opentelemetry-api is not installed here: pip install "django-durable-objects[otel]"'


DAY = timedelta(days=1)
#: No span is longer: now, less or more than that, is still a date.
LONGEST = 36_500 * DAY

engine = AppSettings(
    "DURABLE_OBJECTS",
    {
        # How long a run inside unlocked() keeps its object while nobody renews its lease.
        "LEASE": Within(timedelta(seconds=60), timedelta(seconds=0.1), DAY),
        # How long a call waits for an object before it raises ObjectBusy.
        "LOCK_TIMEOUT": Within(timedelta(seconds=5), timedelta(seconds=0.01), DAY),
        # Alarms due within this time have a Celery message out; later ones wait as rows only.
        "HORIZON": Within(timedelta(seconds=60), timedelta(seconds=1), DAY),
        # How often the dispatcher passes.
        "DISPATCH_EVERY": Within(timedelta(seconds=5), timedelta(seconds=0.01), DAY),
        # At most this many wake-ups that a dispatcher sent are out at a time.
        "MAX_OUT": Within(1000, 1, 1_000_000),
        # Runs kept per object, and for how long; the last dead run of an object is always kept.
        "HISTORY_PER_OBJECT": Within(100, 0, 1_000_000_000),
        "HISTORY_FOR": Within(timedelta(days=30), timedelta(0), LONGEST),
        # The database that the engine's tables are in.
        "DATABASE": "default",
        # Who dispatches: "beat" (django-celery-beat or CELERY_BEAT_SCHEDULE) or "command".
        "DISPATCHED_BY": OneOf(("beat", "command")),
        # What the overview shows as the version of this code, such as a tag; empty: a digest of the apps' source.
        "CODE_VERSION": "",
        # Whether what cannot be undone (cancel, discard, delete) is refused without a reason, in admin and commands.
        "REQUIRE_REASON": False,
        # What monitoring sends as a bearer token to read the figures of durable_objects.urls; without it nobody may.
        "MONITORING_TOKEN": Checked("", token_flaw),
        # Whether each turn and each run is a span of OpenTelemetry's, and a run is linked to the trace that set it.
        "TRACING": Checked(False, _tracing_flaw),
    },
)
