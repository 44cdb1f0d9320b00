"""API tokens in the database: hashed, with scopes, made and revoked by people."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import ClassVar, Self

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone

from durable_objects.http import scopes

#: How a token begins, so that one that leaked into a text is recognised; and how much of it is shown.
BEGINNING = "do_"
SHOWN = len(BEGINNING) + 8


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    """Tokens, by whether they open anything."""

    def valid(self, now: datetime) -> Self:
        """Return those that are neither revoked nor expired."""
        return self.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=now), revoked_at__isnull=True)


class ApiToken(models.Model):
    """A bearer token of 256 random bits. Only its SHA-256 is kept, so nobody can read it back: it is shown once, by
    ``issue``. A plain hash is enough where nothing can be guessed.
    """

    name = models.CharField(max_length=100, help_text="Who or what uses it.")
    #: The beginning of the token: tells which one it is, and opens nothing.
    prefix = models.CharField(max_length=20, unique=True, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list)
    name_prefix = models.CharField(
        max_length=512,
        blank=True,
        default="",
        help_text="Good only for objects, and for the persons that they deliver to, whose names begin so; case counts. "
        "Empty: for all, and for what concerns no one object.",
    )
    channels = models.JSONField(
        default=list,
        blank=True,
        help_text="By which channels its objects may deliver, beside the site's default. None: by all, or by the "
        "default alone where names are limited.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: never.")
    last_used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    objects: ClassVar[models.Manager[ApiToken]] = models.Manager.from_queryset(ApiTokenQuerySet)()

    class Meta:
        verbose_name = "API token"
        ordering = ("-created_at", "-pk")

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def clean(self) -> None:
        """Check that scopes and channels exist, and that the end is still to come. Raises ``ValidationError``."""
        known, channels = scopes.known(), scopes.channels()
        unknown = [scope for scope in self.scopes if scope not in known]
        if unknown or not self.scopes:
            problem = f"unknown: {', '.join(map(str, unknown))}" if unknown else "none is given"
            raise ValidationError(
                {"scopes": f"Scopes: {problem}. Allowed: {', '.join(known) or 'none, since no interface is mounted'}."}
            )
        strange = [channel for channel in self.channels if channel not in channels]
        if strange:
            problem = f"unknown: {', '.join(map(str, strange))}"
            raise ValidationError({"channels": f"Channels: {problem}. Allowed: {', '.join(channels) or 'none'}."})
        if self.expires_at is not None and self.expires_at <= timezone.now():
            raise ValidationError(
                {"expires_at": f"{self.expires_at.isoformat()} is past. Allowed: a time in the future."}
            )

    def issue(self) -> str:
        """Generate the token of this new row, and store its hash. Return the token: it is shown this once."""
        token = BEGINNING + secrets.token_urlsafe(32)
        self.prefix, self.digest = token[:SHOWN], digest_of(token)
        self.full_clean()
        self.save(force_insert=True)
        return token

    def revoke(self) -> bool:
        """Refuse the token from now on, for good; return False when it was revoked before."""
        self.revoked_at = timezone.now()
        return bool(ApiToken.objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=self.revoked_at))

    @property
    def state(self) -> str:
        """``valid``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= timezone.now() else "valid"


def digest_of(token: str) -> str:
    """Return what is stored of a token: its SHA-256."""
    return hashlib.sha256(token.encode()).hexdigest()
