"""What signs a message, and what a secret may be: one rule for batches, webhooks and their receivers."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime

ALLOWED = '"whsec_" and the base64 of 24 to 64 bytes, as in whsec_MfKQ9r8GKYqr…, or two of those with a space between'

PREFIX = "whsec_"
#: The new one and the one before it: while the other side changes to the new one, it takes either.
MOST = 2


def is_secret(text: object) -> bool:
    """Return whether it is one as in Standard Webhooks (a short one can be guessed), or two with a blank between."""
    if type(text) is not str:
        return False
    parts = secrets_in(text)
    return len(parts) <= MOST and all(map(_is_one, parts))


def secrets_in(text: str) -> list[str]:
    """Split a text into its secret or its two."""
    return text.split(" ")


def sign(secret: str, key: str, moment: datetime, body: str) -> str:
    """Return the header ``webhook-signature``: a signature with each secret. Needs the library ``standardwebhooks``."""
    from standardwebhooks import Webhook

    return " ".join(Webhook(each).sign(key, moment, body) for each in secrets_in(secret))


def _is_one(text: str) -> bool:
    if not text.startswith(PREFIX):
        return False
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return False
    return 24 <= len(key) <= 64
