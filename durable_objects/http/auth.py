"""Authorization for the HTTP interface: a known token, with the scope for the route, within its rate."""

from __future__ import annotations

from django.http import HttpRequest
from ninja.security import HttpBearer

from durable_objects.http import tokens
from durable_objects.http.client_address import address_of, network_of
from durable_objects.http.conf import http
from durable_objects.http.errors import Refused
from durable_objects.http.rate_limit import Limiter, rate_of
from durable_objects.http.tokens import Principal

#: Requests by token; unknown tokens by address. Per process.
requests, failures = Limiter(), Limiter()

TOKEN_HEADER = "Authorization: Bearer <a token of 'manage.py tokens create', or one of the settings' TOKENS>"  # noqa: S105  no token
READING = ("GET", "HEAD", "OPTIONS")


class BearerToken(HttpBearer):
    """Admits a token with the scope ``<area>:read``, or for methods that change something ``<area>:write``."""

    def __init__(self, area: str) -> None:
        super().__init__()
        self.area = area

    def __call__(self, request: HttpRequest) -> Principal:
        scope = f"{self.area}:{'read' if request.method in READING else 'write'}"
        match = request.resolver_match
        name = match.kwargs.get("name") if match is not None else None
        return admit(request.headers.get("Authorization", ""), address_of(request.META), scope, name)

    def authenticate(self, request: HttpRequest, token: str) -> Principal | None:
        """Return the holder of the token, as ninja's base class asks for it."""
        return tokens.authenticate(f"Bearer {token}")


def admit(header: str, address: str, scope: str, name: str | None) -> Principal:
    """Return the holder of the token in the ``Authorization`` header. Needs no ninja.

    Raises ``Refused``: 401 without a known token; 403 when it lacks the scope, or is for objects of other names; 429
    (``too_many_requests``) above ``RATE``, and for unknown tokens from an address that sent too many of them
    (``FAILURE_RATE``): these are then no longer looked up. Tokens that this process knows are never limited by
    what others at their address do. Raises what the database raises.
    """
    _refuse_for(_guesses(header, address), "too many unknown tokens came from this address")
    principal = tokens.authenticate(header)
    if principal is None:
        if tokens.token_in(header):
            failures.take(network_of(address), rate_of(http.FAILURE_RATE))
        raise Refused(401, "no bearer token that is known here", allowed=f"the header {TOKEN_HEADER}")
    _refuse_for(requests.take(principal.id, rate_of(http.RATE)), "this token was used too often")
    if scope not in principal.scopes:
        raise Refused(403, f"this token does not have the scope {scope}", allowed=sorted(principal.scopes))
    if not principal.may(scope, name):
        about = "" if name is None else f", not for {name[:100]!r}"
        allowed = f"names that begin with {principal.name_prefix!r}"
        raise Refused(403, f"this token is limited to some objects{about}", allowed=allowed)
    return principal


def is_known(header: str, address: str) -> bool:
    """Return whether the header has a token that opens something. Counts nothing, and looks nothing up for an address
    that ``admit`` would refuse. Raises what the database raises.
    """
    return not _guesses(header, address) and tokens.authenticate(header) is not None


def _guesses(header: str, address: str) -> int:
    """Return after how many seconds this address may show an unknown token again; 0: now, or it is a familiar one."""
    if not tokens.token_in(header) or tokens.is_familiar(header):
        return 0
    return failures.wait(network_of(address), rate_of(http.FAILURE_RATE))


def _refuse_for(seconds: int, problem: str) -> None:
    if seconds:
        allowed = f"the same request after {seconds} s"
        raise Refused(429, problem, code="too_many_requests", allowed=allowed, retry_after=seconds)
