"""Whether a message is from who it says and fresh, by the headers of Standard Webhooks. Pure."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from standardwebhooks import Webhook, WebhookVerificationError

from durable_objects.signing import ALLOWED, is_secret, secrets_in

Secrets = str | Iterable[str]
"""One secret, or those of which one is enough."""

#: As the receipt keeps it; a longer key is nobody's.
LONGEST_KEY = 255


class NotGenuine(Exception):
    """The message is not signed with the secret, or is more than five minutes old or ahead. Answer with 401."""


def checked(secret: object) -> list[str]:
    """Return the secrets, each by itself. Raises ``ImproperlyConfigured``, without the value, for none, for one that
    anybody could guess, and for any other type.
    """
    given: list[Any] = [*secret] if isinstance(secret, Iterable) and not isinstance(secret, str) else [secret]
    if not given or not all(map(is_secret, given)):
        raise ImproperlyConfigured(
            f"The secret of a receiver is not a signing secret (a value of type {type(secret).__name__}, not shown). "
            f"Allowed: {ALLOWED}; or a list of secrets."
        )
    return [each for text in given for each in secrets_in(text)]


def verify(secret: Secrets, headers: Mapping[str, str], body: bytes) -> str:
    """Return the key of a genuine message (``webhook-id``): the same each time the same message is sent.

    ``secret`` is ``whsec_…``, or several of which one has to have signed it: the new one and the old; ``headers`` are
    those of the request, in any case. Raises ``NotGenuine``, and ``ImproperlyConfigured`` for a secret that is none.
    """
    given = {name.lower(): value for name, value in headers.items()}
    refused: list[NotGenuine] = []
    for each in checked(secret):
        try:
            return _verify_one(each, given, body)
        except NotGenuine as error:
            refused.append(error)
    raise refused[0]


def _verify_one(secret: str, given: Mapping[str, str], body: bytes) -> str:
    try:
        Webhook(secret).verify(body, dict(given), json_parse=False)
    except WebhookVerificationError as error:
        raise NotGenuine(f"not genuine: {error}") from None
    except (UnicodeDecodeError, ValueError, OverflowError, binascii.Error) as error:
        raise NotGenuine(f"not genuine: its headers or body are not well formed ({type(error).__name__})") from None
    key = given["webhook-id"]
    if len(key) > LONGEST_KEY or "\0" in key:
        raise NotGenuine(f"not genuine: its key is longer than {LONGEST_KEY} characters")
    return key
