"""``settings.CLEANER``: what holds for every cleaner that does not say otherwise by ``configure()``."""

from datetime import timedelta

from durable_objects.conf import AppSettings

defaults = AppSettings(
    "CLEANER",
    {
        # The time between two planned cleanups.
        "INTERVAL": timedelta(hours=1),
        # Entries with a timestamp older than this are deleted.
        "MAX_AGE": timedelta(days=1),
        # So many entries are looked at in one turn.
        "CHUNK": 500,
    },
)
