"""``settings.BATCHER``: what holds for every batcher that does not say otherwise by ``configure()``."""

from datetime import timedelta

from durable_objects.conf import AppSettings

defaults = AppSettings(
    "BATCHER",
    {
        # Where batches are posted; empty: nowhere, a batch is logged and counts as delivered.
        "UPSTREAM_URL": "",
        # Sent with each post, beside Content-Type and Idempotency-Key.
        "HEADERS": {},
        # How long the first item waits for others.
        "WINDOW": timedelta(seconds=10),
        # A batch holds at most so many items, and so many bytes of them as JSON; a full one goes at once.
        "MAX_ITEMS": 5000,
        "MAX_BYTES": 1_048_576,
        # Quick retries, 2, 4, 8 s … after each failure; then a batch is set aside and retried slowly.
        "MAX_RETRIES": 3,
        # How long after it was sealed (or replayed) a batch is failed for good.
        "GIVE_UP_AFTER": timedelta(days=1),
        # How long an upstream may take over each step of a post.
        "TIMEOUT": timedelta(seconds=10),
    },
)
