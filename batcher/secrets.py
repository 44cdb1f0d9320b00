"""What is secret in a batcher's settings, and how it is shown: masked, everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from durable_objects.masking import MASK, masked_url

#: Settings whose values are never shown. Of headers the names are.
SECRET = {"headers", "secret"}


def masked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Mask the settings: no header value, no signing secret, no user or password in an address is shown."""
    shown = dict(settings)
    if shown.get("headers"):
        shown["headers"] = dict.fromkeys(shown["headers"], MASK)
    if shown.get("secret"):
        shown["secret"] = MASK
    if shown.get("upstream_url"):
        shown["upstream_url"] = masked_url(shown["upstream_url"])
    return shown
