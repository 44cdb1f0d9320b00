"""``settings.CLEANER``: the defaults of every cleaner, unless its ``configure()`` says otherwise."""

from datetime import timedelta

from durable_objects.conf import DAY, LONGEST, AppSettings, Within

defaults = AppSettings(
    "CLEANER",
    {
        # The time between two planned cleanups.
        "INTERVAL": Within(timedelta(hours=1), timedelta(seconds=1), LONGEST),
        # What is older than this is deleted.
        "MAX_AGE": Within(DAY, timedelta(0), LONGEST),
        # The rows of a cleanup's first chunk; the next ones are sized by how long they take.
        "CHUNK": Within(500, 1, 1_000_000),
        # How long a planned cleanup works before it frees the worker and continues in an alarm of its own.
        "BUDGET": Within(timedelta(seconds=60), timedelta(0), DAY),
        # Cleanups kept per cleaner.
        "HISTORY": Within(100, 1, 1_000_000),
        # The Django models that a cleaner may clean, each with its field of time, or a list of such fields:
        # {"shop.Visit": "seen_at"}.
        "MODELS": {},
    },
)
