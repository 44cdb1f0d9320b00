"""Whether a message is from who it says and fresh, by the headers of Standard Webhooks. Pure."""

from __future__ import annotations

import binascii
from collections.abc import Mapping

from django.core.exceptions import ImproperlyConfigured
from standardwebhooks import Webhook, WebhookVerificationError

from durable_objects.signing import ALLOWED, is_secret

#: As the receipt keeps it; a longer key is nobody's.
LONGEST_KEY = 255


class NotGenuine(Exception):
    """The message is not signed with the secret, or is more than five minutes old or ahead. Answer with 401."""


def check_secret(secret: str) -> None:
    """Raise ``ImproperlyConfigured`` for a secret that anybody could guess, without telling it."""
    if not is_secret(secret):
        raise ImproperlyConfigured(f"The secret of a receiver is none. Allowed: {ALLOWED}.")


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> str:
    """The key of a genuine message (``webhook-id``): the same each time the same message is sent.

    ``secret`` is ``whsec_…``; ``headers`` are those of the request, in any case. Raises ``NotGenuine``, and
    ``ImproperlyConfigured`` for a secret that is none.
    """
    check_secret(secret)
    given = {name.lower(): value for name, value in headers.items()}
    try:
        Webhook(secret).verify(body, given, json_parse=False)
    except WebhookVerificationError as error:
        raise NotGenuine(f"not genuine: {error}") from None
    except (UnicodeDecodeError, ValueError, OverflowError, binascii.Error) as error:
        raise NotGenuine(f"not genuine: its headers or body are not well formed ({type(error).__name__})") from None
    key = given["webhook-id"]
    if len(key) > LONGEST_KEY or "\0" in key:
        raise NotGenuine(f"not genuine: its key is longer than {LONGEST_KEY} characters")
    return key
