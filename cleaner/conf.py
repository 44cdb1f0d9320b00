"""``settings.CLEANER``: what holds for every cleaner that does not say otherwise by ``configure()``."""

from datetime import timedelta

from durable_objects.conf import AppSettings

defaults = AppSettings(
    "CLEANER",
    {
        # The time between two planned cleanups.
        "INTERVAL": timedelta(hours=1),
        # What is older than this is deleted.
        "MAX_AGE": timedelta(days=1),
        # So many rows are looked at in a cleanup's first turn; how many in the next ones goes by how long they take.
        "CHUNK": 500,
        # So long a planned cleanup works before it makes room for other alarms and goes on in one of its own.
        "BUDGET": timedelta(seconds=60),
        # Cleanups kept per cleaner.
        "HISTORY": 100,
        # The Django models that a cleaner may be told to clean, each with its field of time, or a list of such fields:
        # {"shop.Visit": "seen_at"}.
        "MODELS": {},
    },
)
