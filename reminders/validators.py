"""Validators of a recipient's webhook, for Django's forms and models."""

from __future__ import annotations

from django.core.exceptions import ValidationError

from durable_objects import outgoing, signing
from durable_objects.masking import masked_url


def address(text: str) -> None:
    """Raise ``ValidationError`` for an address that cannot be called, with a password in it masked."""
    if not outgoing.is_address(text):
        raise ValidationError(f"{masked_url(text)} is not a web address. Allowed: {outgoing.ALLOWED}.")


def secret(text: str) -> None:
    """Raise ``ValidationError`` for what is no signing secret, without showing it."""
    if not signing.is_secret(text):
        raise ValidationError(f"This is not a signing secret. Allowed: {signing.ALLOWED}.")
