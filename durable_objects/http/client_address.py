"""Where a request comes from, and which addresses count as one for a rate limit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from django.conf import settings

#: Who has one IPv6 address has all of its /64.
IPV6_PREFIX = 64


def address_of(meta: Mapping[str, Any]) -> str:
    """Return where the request of this META comes from, without a port: behind a proxy that we trust, what that proxy
    says (the last X-Forwarded-For, if it is an address).
    """
    if settings.SECURE_PROXY_SSL_HEADER:
        forwarded: str = meta.get("HTTP_X_FORWARDED_FOR", "")
        if (address := _parsed(forwarded.rpartition(",")[2])) is not None:
            return str(address)
    direct = str(meta.get("REMOTE_ADDR", ""))
    return str(_parsed(direct) or direct)


def network_of(address: str) -> str:
    """Return what an address is counted as: itself, or for IPv6 its /64."""
    parsed = _parsed(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, IPV6_PREFIX), strict=False))
    return address if parsed is None else str(parsed)


@lru_cache(maxsize=1024)
def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address in ``192.0.2.1``, ``192.0.2.1:443``, ``2001:db8::1`` or ``[2001:db8::1]:443``; None
    for none.
    """
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
