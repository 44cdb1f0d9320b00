"""What the secret that signs a message may be: one rule for batches, webhooks and their receivers."""

from __future__ import annotations

import base64
import binascii

ALLOWED = '"whsec_" and the base64 of 24 to 64 bytes'

PREFIX = "whsec_"


def is_secret(text: object) -> bool:
    """Whether it is one, as Standard Webhooks has it: a short one can be guessed."""
    if type(text) is not str or not text.startswith(PREFIX):
        return False
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return False
    return 24 <= len(key) <= 64
