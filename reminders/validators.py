"""What a recipient's webhook may be: the rules of batches and posts, as Django's forms and models ask for them."""

from __future__ import annotations

from django.core.exceptions import ValidationError

from durable_objects import outgoing, signing
from durable_objects.masking import masked_url


def address(text: str) -> None:
    """Raises ``ValidationError`` for what cannot be called; a password in it is not told."""
    if not outgoing.is_address(text):
        raise ValidationError(f"{masked_url(text)} is no address. Allowed: {outgoing.ALLOWED}.")


def secret(text: str) -> None:
    """Raises ``ValidationError`` for what is no signing secret, without telling it."""
    if not signing.is_secret(text):
        raise ValidationError(f"This is no signing secret. Allowed: {signing.ALLOWED}.")
