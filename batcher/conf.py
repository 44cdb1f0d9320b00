"""``settings.BATCHER``: the defaults of every batcher, unless its ``configure()`` says otherwise."""

from datetime import timedelta

from durable_objects.conf import DAY, LONGEST, AppSettings, Within

defaults = AppSettings(
    "BATCHER",
    {
        # Where batches are posted; empty: nowhere, a batch is logged and counts as delivered.
        "UPSTREAM_URL": "",
        # Sent with each post, beside those that are set by us.
        "HEADERS": {},
        # The body goes compressed.
        "GZIP": False,
        # Signs each post as Standard Webhooks: "whsec_…"; empty: no signature.
        "SECRET": "",
        # How long the first item waits for others.
        "WINDOW": timedelta(seconds=10),
        # When no item came for this long, the window ends early; 0: it does not.
        "QUIET": timedelta(0),
        # The items that a batch has at most, and their bytes as JSON with a comma each; a full one goes at once, and an
        # item with more bytes is refused.
        "MAX_ITEMS": 5000,
        "MAX_BYTES": 1_048_576,
        # The items that may be accepted and not finished, else QueueFull; 0: any number.
        "MAX_QUEUED": 1_000_000,
        # How long an item that comes again under the client's own key is the same item.
        "KEYS_FOR": Within(DAY, timedelta(0), LONGEST),
        # Quick retries, 2, 4, 8 s … after each failure; then a batch is set aside and retried slowly.
        "MAX_RETRIES": 3,
        # How long after it was sealed (or replayed) a batch is failed for good.
        "GIVE_UP_AFTER": timedelta(days=1),
        # A batch that is refused as a whole is split, until the item that the upstream does not take is alone.
        "BISECT": False,
        # How long an upstream may take over each step of a post, and over all of it.
        "TIMEOUT": Within(timedelta(seconds=10), timedelta(seconds=0.01), DAY),
        "DEADLINE": Within(timedelta(seconds=30), timedelta(seconds=0.01), DAY),
        # The failed tries in a row, of any batchers, that open the circuit breaker of an upstream; 0: never.
        "BREAKER_FAILURES": Within(5, 0, 1_000_000),
        # Its first pause, doubled after each failed probe up to the second.
        "BREAKER_PAUSE": Within(timedelta(seconds=30), timedelta(0), DAY),
        "BREAKER_PAUSE_AT_MOST": Within(timedelta(minutes=5), timedelta(0), DAY),
        # How long delivered batches are kept, and of how many of the last items per batcher.
        "KEEP_DELIVERED": Within(30 * DAY, timedelta(0), LONGEST),
        "KEEP_DELIVERED_ITEMS": Within(1_000_000, 0, 1_000_000_000_000),
    },
)
