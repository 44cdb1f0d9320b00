"""Who may use the HTTP interface: those who hold a bearer token."""

from __future__ import annotations

import hmac

from django.conf import settings
from django.http import HttpRequest
from ninja.security import HttpBearer

#: Tokens that this process accepts beside ``settings.API_TOKENS``; see ``accept``.
_accepted_here: list[str] = []


class BearerToken(HttpBearer):
    """Lets in whoever sends ``Authorization: Bearer <token>`` with a token of ``settings.API_TOKENS``.

    Closed by default: without tokens nobody gets in. Every comparison takes the same time. What was sent is never
    logged.
    """

    def __call__(self, request: HttpRequest) -> str | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return self.authenticate(request, token.strip()) if scheme.lower() == "bearer" else None

    def authenticate(self, request: HttpRequest, token: str) -> str | None:
        """``"bearer"`` for a known token, else None."""
        matches = [hmac.compare_digest(known.encode(), token.encode()) for known in known_tokens()]
        return "bearer" if any(matches) else None


def known_tokens() -> list[str]:
    """The tokens that are accepted now; empty ones never are."""
    return [token for token in (*settings.API_TOKENS, *_accepted_here) if token]


def accept(token: str) -> None:
    """Accept ``token`` in this process too, until it ends."""
    _accepted_here.append(token)
