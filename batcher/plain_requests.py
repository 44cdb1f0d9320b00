"""Which requests are plain: Django's way would answer them by ``batcher.api.add`` and its guard, and by nothing else.

Whoever is not sure says None, and Django's way answers. So whatever a project puts around the route or says in its
settings has to be known here, or seen to be there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from inspect import getclosurevars
from typing import Any, NamedTuple

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from django.urls import Resolver404, URLResolver, get_resolver
from django.utils import translation
from ninja import NinjaAPI
from ninja.operation import Operation, PathView
from ninja.renderers import JSONRenderer

from batcher.api import add, router
from durable_objects.http import audit, tokens
from durable_objects.http.auth import BearerToken
from durable_objects.http.body_limit import declared_length, most_bytes
from durable_objects.http.client_address import address_of
from durable_objects.http.errors import uri_of
from durable_objects.http.tokens import Principal
from durable_objects.logs import get_logger

logger = get_logger("batcher.fast_path")

#: Headers that only Django's way handles: Origin, since a browser shows a page no answer that no middleware allows it.
NOT_PLAIN = {"HTTP_CONTENT_ENCODING", "HTTP_TRANSFER_ENCODING", "HTTP_IDEMPOTENCY_KEY", "HTTP_ORIGIN"}
#: What Django allows where DEBUG is set and nothing else is.
LOCAL_HOSTS = [".localhost", "127.0.0.1", "[::1]"]


class Plain(NamedTuple):
    """The batcher that is added to, who adds, from where, and what kind of body comes."""

    path: str
    name: str
    principal: Principal
    address: str
    length: int
    media_type: str

    def record(self, status: int, *, times: int = 1) -> None:
        """Write to the audit log."""
        audit.record(self.principal, "POST", self.path, status, self.address, times=times)


def plain_request(environ: Mapping[str, Any], api: NinjaAPI, prefix: str) -> Plain | None:
    """Return the parts of a plain request, by a client who may add, of a known, small size; None for any other."""
    path: str = environ.get("PATH_INFO", "")
    name = path.removeprefix(prefix)
    if environ["REQUEST_METHOD"] != "POST" or name in ("", ".", "..", path) or "/" in name:
        return None
    if environ.get("QUERY_STRING") or not _is_as_sent(environ) or not NOT_PLAIN.isdisjoint(environ):
        return None
    length = _length(environ)
    if length is None or not _passes_djangos_middleware(environ):
        return None
    principal = tokens.trusted(environ.get("HTTP_AUTHORIZATION", ""))
    if principal is None or not principal.may("batcher:write", name):
        return None
    if _added_to(get_resolver(), path) != (api, name):  # asked last: it remembers paths, and not those of strangers
        _warn_once(prefix)
        return None
    return Plain(path, name, principal, address_of(environ), length, environ.get("CONTENT_TYPE", ""))


@cache
def _warn_once(prefix: str) -> None:
    """Log that a fast path may be of no use, which nobody would see."""
    logger.warning(
        "a post below %r was left to Django by the fast path: the route there is not batcher.api's as it was made, or "
        "not of the API that the fast path was given. Give it the API and the prefix that urls.py has; with a guard, "
        "throttle, decorator or renderer of your own it is of no use (logged once)",
        prefix,
    )


@lru_cache(maxsize=4096)
def _added_to(resolver: URLResolver, path: str) -> tuple[NinjaAPI, str] | None:
    """Return the interface in which Django would have ``add`` called for a post to this path, as it was made, and the
    name; None where anything else is at the path, or stands around it.
    """
    try:
        with translation.override(translation.get_language_from_path(path) or settings.LANGUAGE_CODE):
            match = resolver.resolve(path)
        view = getclosurevars(match.func).nonlocals.get("self")
    except (Resolver404, TypeError):  # nothing; no function
        return None
    operations = view.operations if isinstance(view, PathView) else []
    posted = next((each for each in operations if "POST" in each.methods), None)
    if posted is None or not _is_as_made(posted) or match.kwargs.keys() != {"name"}:
        return None
    return posted.api, match.kwargs["name"]


def _is_as_made(operation: Operation) -> bool:
    """Return whether it is ``add``, with the guard of its router, and no throttle, decorator or renderer besides."""
    guards = [guard.area if type(guard) is BearerToken else None for guard in operation.auth_callbacks]
    is_decorated = operation.view_func is not add or "run" in vars(operation)
    is_plain_json = type(operation.api.renderer) is JSONRenderer
    return guards == [router.area.name] and not (is_decorated or operation.throttle_objects) and is_plain_json


def _is_as_sent(environ: Mapping[str, Any]) -> bool:
    """Return whether the path needed no decoding, so that it has one spelling, and is that of the whole site."""
    path: str = environ.get("PATH_INFO", "")
    sent = uri_of(environ).partition("?")[0] or path
    is_of_site = not (environ.get("SCRIPT_NAME") or settings.FORCE_SCRIPT_NAME)
    return path.isascii() and "%" not in path and sent == path and is_of_site


def _length(environ: Mapping[str, Any]) -> int | None:
    """Return how long the body will be; None when Content-Length is missing, not a number, or too large."""
    try:
        length = declared_length(environ.get("CONTENT_LENGTH", ""))
    except ValueError:
        return None
    return length if length is not None and length <= most_bytes() else None


def _passes_djangos_middleware(environ: Mapping[str, Any]) -> bool:
    """Return whether ``SecurityMiddleware`` and ``CommonMiddleware`` would let it through, wherever they stand."""
    if settings.SECURE_SSL_REDIRECT and not _is_secure(environ):
        return False
    host: str = environ.get("HTTP_HOST", "")
    if settings.USE_X_FORWARDED_HOST:
        host = environ.get("HTTP_X_FORWARDED_HOST", host)
    if not _is_our_host(host) or (settings.PREPEND_WWW and not host.startswith("www.")):
        return False
    agent: str = environ.get("HTTP_USER_AGENT", "")
    return not any(pattern.search(agent) for pattern in settings.DISALLOWED_USER_AGENTS)


def _is_our_host(host: str) -> bool:
    """Return whether Django would accept the host as one of ours."""
    return _is_among(host, tuple(settings.ALLOWED_HOSTS or (LOCAL_HOSTS if settings.DEBUG else ())))


@lru_cache(maxsize=64)
def _is_among(host: str, allowed: tuple[str, ...]) -> bool:
    domain = split_domain_port(host)[0]
    return bool(domain) and validate_host(domain, allowed)


def _is_secure(environ: Mapping[str, Any]) -> bool:
    """Return whether it came by HTTPS as Django sees it, or as a trusted proxy reports it."""
    if settings.SECURE_PROXY_SSL_HEADER is None:
        return bool(environ["wsgi.url_scheme"] == "https")
    name, value = settings.SECURE_PROXY_SSL_HEADER
    reported: str = environ.get(name, "")
    return reported.partition(",")[0].strip() == value
