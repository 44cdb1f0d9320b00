"""What ``manage.py check`` says of settings that would only show when a reminder is due."""

from __future__ import annotations

import binascii
from typing import Any

from django.core import checks
from django.urls import NoReverseMatch, reverse
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from reminders.conf import defaults


@checks.register
def check_settings(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Links need pages to lead to, and a webhook needs a secret that is one."""
    found: list[checks.CheckMessage] = []
    if defaults.PUBLIC_URL:
        try:
            reverse("reminders:act", args=["done", "token"])
        except NoReverseMatch:
            hint = 'Add path("remind/", include("reminders.urls")) to the urlpatterns.'
            found.append(
                checks.Error(
                    "REMINDERS has a PUBLIC_URL, but reminders.urls is not mounted.", hint, id="reminders.E001"
                )
            )
    if defaults.WEBHOOK_URL:
        try:
            Webhook(defaults.WEBHOOK_SECRET)
        except (EmptyWebhookSecretError, binascii.Error, ValueError, RuntimeError):
            hint = "Give both sides the same: whsec_ and 24 to 64 random bytes in base64."
            found.append(
                checks.Error(
                    "REMINDERS has a WEBHOOK_URL, but no WEBHOOK_SECRET that is one.", hint, id="reminders.E002"
                )
            )
    return found
