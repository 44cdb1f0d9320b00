"""What an error page with DEBUG on, or any report of an error, may show: no secrets."""

from __future__ import annotations

import re
from collections.abc import ItemsView
from types import FrameType
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter

#: Names whose values are never shown: Django's, and those of addresses, which may carry a password or a token.
HIDDEN = "API|AUTH|TOKEN|KEY|SECRET|PASS|SIGNATURE|COOKIE|CREDENTIAL|BROKER|APPRISE|URL(?!CONF)"
STARS = SafeExceptionReporterFilter.cleansed_substitute
_LOGIN = re.compile(r"(?<=://)[^/\s@]*@")


class Filter(SafeExceptionReporterFilter):
    """Hides by name what settings, the request, a form and the variables of the code hold, with DEBUG on too."""

    hidden_settings = re.compile(HIDDEN, re.IGNORECASE)

    def is_active(self, request: HttpRequest | None) -> bool:
        """Return True: what a view calls sensitive is so while debugging too."""
        return True

    def get_post_parameters(self, request: HttpRequest | None) -> dict[str, Any]:
        """Return the fields of a form, by the same rule as settings."""
        return {name: self.cleanse_setting(name, value) for name, value in super().get_post_parameters(request).items()}

    def get_traceback_frame_variables(self, request: HttpRequest | None, tb_frame: FrameType) -> ItemsView[str, Any]:
        """Return the variables of a frame, by the same rule as settings."""
        shown = super().get_traceback_frame_variables(request, tb_frame)
        return {name: STARS if self.hidden_settings.search(name) else value for name, value in shown}.items()


class Reporter(ExceptionReporter):
    """Django's pages and mails about an error, without the login in any address, whatever it is called."""

    def get_traceback_data(self) -> dict[str, Any]:
        """Return what the page shows; a form that cannot be read, which may be what the page is about, as empty."""
        request: Any = self.request
        if request is not None:
            try:
                request.POST  # noqa: B018  reading it parses it
            except Exception:  # noqa: BLE001  whatever it was, it is reported already
                request._mark_post_parse_error()
        data: dict[str, Any] = super().get_traceback_data()
        return data

    def get_traceback_html(self) -> SafeString:
        """Return the page."""
        return without_secrets(super().get_traceback_html())

    def get_traceback_text(self) -> SafeString:
        """Return the text."""
        return without_secrets(super().get_traceback_text())


def without_secrets(report: str) -> SafeString:
    """Return the report without Apprise's addresses, whose every part may be a token, and without logins in others."""
    addresses: Any = settings.REMINDERS.get("APPRISE") or {}
    for address in addresses.values():
        report = report.replace(escape(address), STARS).replace(address, STARS)
    return mark_safe(_LOGIN.sub(f"{STARS}@", report))  # noqa: S308  Django escaped it; stars need no escape
