"""The log-in to Django admin, with a brake for who guesses passwords."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError

from durable_objects.http.client_address import address_of, network_of
from durable_objects.http.rate_limit import Limiter, rate_of
from durable_objects.logs import get_logger

logger = get_logger("project.login")

#: Failed log-ins by address.
logins = Limiter()


class LoginForm(AdminAuthenticationForm):
    """Admin's form. Above ``LOGIN_FAILURE_RATE`` failed log-ins from one address nothing is tried for it any more, not
    even the right password, until it may again; who has logged in already is not touched. Per process.
    """

    def clean(self) -> dict[str, Any]:
        """Check name and password. Raises ``ValidationError``."""
        address = address_of(self.request.META) if self.request else ""
        if seconds := logins.wait(network_of(address), rate_of(settings.LOGIN_FAILURE_RATE)):
            raise ValidationError(f"Too many failed log-ins from your address. Try again in {seconds} s.", "too_many")
        try:
            return super().clean()
        except ValidationError:
            logins.take(network_of(address), rate_of(settings.LOGIN_FAILURE_RATE))
            logger.warning("failed log-in as %r from %s", self.cleaned_data.get("username"), address)
            raise
