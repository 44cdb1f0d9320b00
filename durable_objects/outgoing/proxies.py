"""Which proxy a call goes by: the environment's, with every form of NO_PROXY that people write."""

from __future__ import annotations

import importlib
import ipaddress
import re
from urllib.request import getproxies

import httpx

from durable_objects.masking import masked_url

_HOST_AND_PORT = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<name>[^:]*))(?::(?P<port>\d+))?")


class ProxyUnusable(Exception):
    """The environment names a proxy that cannot be one. Nothing was sent, and the fault is not the address's."""


def proxy_for(url: httpx.URL) -> httpx.Proxy | None:
    """Return that of HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, in small letters too, unless NO_PROXY has the host.

    httpx's own reading gives up on a NO_PROXY with a range of IPv6. Raises ``ProxyUnusable``.
    """
    named = getproxies()
    variable = url.scheme if named.get(url.scheme) else "all"
    address = named.get(variable, "")
    if not address or is_exempt(url.host, url.port or {"https": 443}.get(url.scheme, 80), named.get("no", "")):
        return None
    try:
        proxy = httpx.Proxy(address if "://" in address else f"http://{address}")
        if proxy.url.scheme.startswith("socks"):
            importlib.import_module("socksio")
    except (httpx.InvalidURL, ValueError, ImportError) as error:
        reason = "" if masked_url(address) != address else f" ({error})"
        raise ProxyUnusable(
            f"{variable.upper()}_PROXY is {masked_url(address)!r}, which is no proxy{reason}"
        ) from error
    return proxy


def is_exempt(host: str, port: int, no_proxy: str) -> bool:
    """Return whether NO_PROXY has this host: by ``*``, its name or that of a domain of it, its address or a range that
    it is in, in brackets or not, with a port or without.
    """
    host = host.lower().strip("[]").rstrip(".")
    return any(_has(entry, host, port) for entry in re.split(r"[\s,;]+", no_proxy.lower()) if entry)


def _has(entry: str, host: str, port: int) -> bool:
    entry = entry.rpartition("://")[2]
    if entry == "*":
        return True
    if "]:" not in entry and (network := _network(entry.replace("[", "").replace("]", ""))) is not None:
        return _is_in(host, network)
    match = _HOST_AND_PORT.fullmatch(entry)
    if match is None or (match["port"] and int(match["port"]) != port):
        return False
    if (network := _network(match["v6"] or match["name"])) is not None:
        return _is_in(host, network)
    name = (match["name"] or "").removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _network(text: str | None) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text or "", strict=False)
    except ValueError:
        return None


def _is_in(host: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address in network or (mapped is not None and mapped in network)
