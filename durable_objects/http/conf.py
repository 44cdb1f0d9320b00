"""``settings.DURABLE_OBJECTS_HTTP``: who may use the interfaces, how often, and where pages for people are."""

from __future__ import annotations

from typing import Any

from durable_objects.conf import AppSettings, Checked
from durable_objects.http import rate_limit


def _no_texts(values: list[Any]) -> str | None:
    wrong = [type(value).__name__ for value in values if not isinstance(value, str)]  # a value may be secret
    return f"has a {wrong[0]} in it; allowed: a list of texts" if wrong else None


def _no_paths(values: list[Any]) -> str | None:
    wrong = [value for value in values if not (isinstance(value, str) and value.startswith("/"))]
    return f"has {wrong[0]!r} in it; allowed: paths that begin with a slash, such as '/admin/'" if wrong else None


http = AppSettings(
    "DURABLE_OBJECTS_HTTP",
    {
        # Bearer tokens that open everything, beside those in the database.
        "TOKENS": Checked([], _no_texts),
        # How often one token may be used: "100/s", "6000/m", "50000/h"; "0": no limit. In each process by itself.
        "RATE": Checked("5000/s", rate_limit.flaw_of),
        # How many unknown tokens an address may show; above it they are refused without being looked up.
        "FAILURE_RATE": Checked("60/m", rate_limit.flaw_of),
        # Where pages for people are, below a path that an interface is mounted at ("/" alone: that page only). They
        # get the same limits, and keep Django's own errors.
        "PAGES": Checked([], _no_paths),
    },
)
