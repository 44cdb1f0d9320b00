"""Authentication of the HTTP interface: whose bearer token this is, and what it may do."""

from __future__ import annotations

import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from django.db import DatabaseError
from django.utils import timezone

from durable_objects.http import scopes
from durable_objects.http.conf import http
from durable_objects.http.errors import Refused
from durable_objects.http.models import ApiToken, digest_of
from durable_objects.logs import get_logger

logger = get_logger("durable_objects.http.tokens")

#: Seconds for which a process trusts what it read about a token: a revoked one is refused everywhere within them.
TRUSTED_FOR = 5.0
#: How often at most the time of a token's last use is written.
USE_WRITTEN_EVERY = timedelta(minutes=1)

#: Tokens that this process accepts beside ``DURABLE_OBJECTS_HTTP["TOKENS"]``; see ``accept``.
_accepted_here: list[str] = []
#: What was read from the database, and when (monotonic), by digest. Valid tokens only: strangers cannot make it grow.
_trusted: dict[str, tuple[Principal, float]] = {}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sent a token. ``id`` tells it from others and is no secret, nor is ``name``, which people gave it."""

    id: str
    scopes: frozenset[str]
    name_prefix: str = ""
    expires_at: datetime | None = None
    name: str = ""
    channels: frozenset[str] = frozenset()

    def may(self, scope: str, name: str | None = None) -> bool:
        """Return whether the token opens ``scope`` for the object of this name; None: for what concerns no one
        object.
        """
        return scope in self.scopes and (name or "").startswith(self.name_prefix)

    def check_reach(self, person: str | None, channels: Sequence[str], default: Sequence[str] = ()) -> None:
        """Raise ``Refused`` (403) unless it may have something delivered to this person by these channels.

        A name prefix binds persons as it binds objects, and leaves the ``default`` channels; others must be named.
        """
        if person and not person.startswith(self.name_prefix):
            allowed = f"persons whose names begin with {self.name_prefix!r}"
            raise Refused(403, f"this token is limited to some persons, not for {person[:100]!r}", allowed=allowed)
        if not (self.name_prefix or self.channels):
            return
        allowed_channels = {*self.channels, *default}
        if strange := sorted({*channels} - allowed_channels):
            problem = f"this token is limited to some channels, not for {strange[0][:100]!r}"
            raise Refused(403, problem, allowed=sorted(allowed_channels))


def authenticate(header: str) -> Principal | None:
    """Return the holder of the token in an ``Authorization`` header (``Bearer <token>``); None for an unknown one.

    Closed by default: without tokens every request is refused. ``DURABLE_OBJECTS_HTTP["TOKENS"]`` open every scope
    and are compared in constant time; any other token is looked up by its hash, at most every ``TRUSTED_FOR`` seconds
    in each process.
    What was sent is never logged. Raises what the database raises.
    """
    token = token_in(header)
    if not token:
        return None
    return _of_settings(token) or _of_database(digest_of(token))


def is_familiar(header: str) -> bool:
    """Return whether the token in the header was valid in this process before. Asks no database."""
    token = token_in(header)
    return bool(token) and (_of_settings(token) is not None or digest_of(token) in _trusted)


def trusted(header: str) -> Principal | None:
    """Return the same as ``authenticate`` by what this process knows: None also where the database would have to be
    asked.
    """
    token = token_in(header)
    principal, asked = _trusted.get(digest_of(token), (None, 0.0))
    if principal is None or time.monotonic() - asked >= TRUSTED_FOR:
        return _of_settings(token) if token else None
    return None if principal.expires_at is not None and principal.expires_at <= timezone.now() else principal


def token_in(header: str) -> str:
    """Return the token in an ``Authorization`` header; empty when there is none."""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def known_tokens() -> list[str]:
    """Return the tokens that open everything; empty ones never do."""
    return [token for token in (*http.TOKENS, *_accepted_here) if token]


def accept(token: str) -> None:
    """Accept ``token`` in this process too, until it ends."""
    _accepted_here.append(token)


def forget() -> None:
    """Ask the database about every token again: one was revoked here, and is refused at once in this process."""
    _trusted.clear()


def _of_settings(token: str) -> Principal | None:
    matches = [hmac.compare_digest(known.encode(), token.encode()) for known in known_tokens()]
    if not any(matches):
        return None
    return _for_everything(f"TOKENS {matches.index(True) + 1}", frozenset(scopes.known()))


@lru_cache(maxsize=64)
def _for_everything(which: str, scopes: frozenset[str]) -> Principal:
    return Principal(which, scopes, name=which)


def _of_database(digest: str) -> Principal | None:
    principal, asked = _trusted.get(digest, (None, 0.0))
    if principal is None or time.monotonic() - asked >= TRUSTED_FOR:
        principal = _look_up(digest)
    elif principal.expires_at is not None and principal.expires_at <= timezone.now():
        return None
    return principal


def _look_up(digest: str) -> Principal | None:
    now = timezone.now()
    row = ApiToken.objects.valid(now).filter(digest=digest).first()
    if row is None:
        _trusted.pop(digest, None)
        return None
    principal = Principal(
        f"token {row.pk}", frozenset(row.scopes), row.name_prefix, row.expires_at, str(row), frozenset(row.channels)
    )
    _trusted[digest] = principal, time.monotonic()
    if row.last_used_at is None or now - row.last_used_at >= USE_WRITTEN_EVERY:
        _write_use(row, now)
    return principal


def _write_use(row: ApiToken, now: datetime) -> None:
    try:
        # Of all who see the same old time, one writes.
        ApiToken.objects.filter(pk=row.pk, last_used_at=row.last_used_at).update(last_used_at=now)
    except DatabaseError as error:  # the request is what matters
        logger.warning("the last use of the API token %s was not written: %s", row.prefix, error)
