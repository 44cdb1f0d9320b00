"""Where a call goes: what an address may be, and whose server it is."""

from __future__ import annotations

import re
import socket

import httpx

from durable_objects.validation import text_flaw

ALLOWED = "an http or https address, with a host that can be one and a port from 1 to 65535"

_PORTS = {"http": 80, "https": 443}
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_LONGEST_HOST = 253


def is_address(value: object) -> bool:
    """Return whether this text is an address that can be called, by its form alone."""
    if type(value) is not str or text_flaw(value) is not None:
        return False
    try:
        url = httpx.URL(value)
        url.host.encode()  # of "xn--…" only this finds out that it stands for nothing
    except (httpx.InvalidURL, ValueError):
        return False
    is_port = url.port is None or 0 < url.port < 65_536
    return url.scheme in _PORTS and is_port and _is_host(url.raw_host.decode("ascii"))


def origin_of(url: str) -> str:
    """Return scheme, host and port of an address: each has one circuit breaker, and one share of the threads."""
    parsed = httpx.URL(url)
    host = parsed.raw_host.decode("ascii").lower()
    host = f"[{host}]" if ":" in host else host
    return f"{parsed.scheme}://{host}:{parsed.port or _PORTS.get(parsed.scheme, 0)}"[:300]


def _is_host(host: str) -> bool:
    if ":" in host:
        return "%" not in host  # else checked by httpx
    name = host.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > _LONGEST_HOST or not all(map(_LABEL.fullmatch, labels)):
        return False
    if not _NUMBER.fullmatch(labels[-1]):
        return True
    try:
        socket.inet_aton(name)
    except OSError:
        return False
    return True
