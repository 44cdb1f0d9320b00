"""Validators of a recipient's webhook and digest, for Django's forms and models."""

from __future__ import annotations

from datetime import timedelta

from django.core.exceptions import ValidationError

from durable_objects import outgoing, signing
from durable_objects.masking import masked_url

SHORTEST_WINDOW, LONGEST_WINDOW = timedelta(minutes=1), timedelta(days=7)


def address(text: str) -> None:
    """Raise ``ValidationError`` for an address that cannot be called, with a password in it masked."""
    if not outgoing.is_address(text):
        raise ValidationError(f"{masked_url(text)} is not a web address. Allowed: {outgoing.ALLOWED}.")


def secret(text: str) -> None:
    """Raise ``ValidationError`` for what is no signing secret, without showing it."""
    if not signing.is_secret(text):
        raise ValidationError(f"This is not a signing secret. Allowed: {signing.ALLOWED}.")


def digest_window(span: timedelta) -> None:
    """Raise ``ValidationError`` for a time that no digest gathers for."""
    if not SHORTEST_WINDOW <= span <= LONGEST_WINDOW:
        raise ValidationError(f"{span} is no window of a digest. Allowed: 1 minute to {LONGEST_WINDOW.days} days.")
