"""What is secret in a batcher's settings, and how it is shown: masked, in every place where people look."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "••••••"
"""Stands for a secret."""

#: Settings whose values are never shown. Of headers the names are.
SECRET = {"headers", "secret"}
#: Text shorter than this is no secret worth the name, and would be found everywhere.
_LEAST = 6

_USERINFO = re.compile(r"(?<=//)[^/?#@]*@")


def masked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they may be shown: no value of a header, no signing secret, no user or password in an address."""
    shown = dict(settings)
    if shown.get("headers"):
        shown["headers"] = dict.fromkeys(shown["headers"], MASK)
    if shown.get("secret"):
        shown["secret"] = MASK
    if shown.get("upstream_url"):
        shown["upstream_url"] = masked_url(shown["upstream_url"])
    return shown


def masked_url(url: str) -> str:
    """The address without the user and password that it may hold."""
    return _USERINFO.sub(f"{MASK}@", url)


def secrets_of(url: str, headers: Mapping[str, str], secret: str) -> list[str]:
    """The texts that must not be seen: of these settings, the longest first."""
    userinfo = [part for found in _USERINFO.findall(url) for part in found[:-1].split(":", 1)[1:]]
    tokens = [token for value in headers.values() for token in (value, value.rpartition(" ")[2])]
    return sorted({text for text in (*userinfo, *tokens, secret) if len(text) >= _LEAST}, key=len, reverse=True)


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The text with a mask in place of each of the secrets: an upstream may send back what it was sent."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text
