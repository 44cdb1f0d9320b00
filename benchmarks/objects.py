"""Object classes that are only measured."""

from __future__ import annotations

import time

from durable_objects import AlarmInfo
from durable_objects.models import DurableObject


class Once(DurableObject):
    """Writes one key in ``alarm()``, in a transaction of its own."""

    class Meta:
        app_label = "tests"
        proxy = True

    def alarm(self, info: AlarmInfo) -> None:
        self.storage.put("ran", info.lateness)

    def note(self) -> None:
        """Write one key, for a schedule."""
        self.storage.put("ran", True)


class Ticker(Once):
    """The same, in groups."""

    class Meta:
        app_label = "tests"
        proxy = True

    alarm_groups = True


class Busy(DurableObject):
    """Takes five seconds in ``alarm()``, for which it lets go of itself."""

    class Meta:
        app_label = "tests"
        proxy = True

    def alarm(self, info: AlarmInfo) -> None:
        with self.unlocked():
            time.sleep(5)
