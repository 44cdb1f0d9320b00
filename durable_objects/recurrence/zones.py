"""Time zones by their names in the tz database of this machine. Pure."""

from __future__ import annotations

import functools
from zoneinfo import ZoneInfo, available_timezones

from durable_objects.errors import InvalidSchedule
from durable_objects.validation import refusal, show

ZONE_ALLOWED = 'the name of a time zone, such as "Europe/Berlin"'
#: Files beside the zones that read like one: this machine's own setting, the one before anybody chose, the rules for
#: POSIX strings; and copies of all zones, of which "right/" counts leap seconds.
NO_ZONES = ("localtime", "Factory", "posixrules", "posix/", "right/")


def check_zone(name: str, called: str = "zone") -> ZoneInfo:
    """Return the zone of this name. Raises ``InvalidSchedule``, naming the argument as it is ``called``."""
    found = find_zone(name)
    if found is None:
        raise refusal(f"{called} is {show(name)}", ZONE_ALLOWED, InvalidSchedule)
    return found


def find_zone(name: str) -> ZoneInfo | None:
    """Return the zone of this name; None where this machine has none, or not any more."""
    if type(name) is not str or not name or name.startswith(NO_ZONES):
        return None
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return None  # what a wrong name raises depends on what stands at that path in the zone files


@functools.cache
def zone_names() -> list[str]:
    """Return the names of all zones, sorted; looked up on disk once."""
    return sorted(name for name in available_timezones() if not name.startswith(NO_ZONES))
