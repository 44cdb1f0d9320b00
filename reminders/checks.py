"""System checks of ``settings.REMINDERS``: what would else show only when a reminder is due."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import parseaddr
from typing import Any

from django.core import checks
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.urls import NoReverseMatch, reverse

from durable_objects import outgoing, signing
from durable_objects.masking import masked_url
from durable_objects.recurrence.zones import ZONE_ALLOWED, find_zone
from durable_objects.validation import show
from reminders.conf import defaults
from reminders.tables import LONGEST_ADDRESS


@checks.register
def check_settings(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Check that links have pages to lead to, the webhook has a secret, addresses are addresses, the zone is a zone."""
    if defaults.flaw():
        return []  # reported as durable_objects.E010
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
    if defaults.WEBHOOK_URL and not signing.is_secret(defaults.WEBHOOK_SECRET):
        hint = f"Set the secret that the receiver knows too: {signing.ALLOWED}."
        found.append(
            checks.Error("REMINDERS has a WEBHOOK_URL, but no valid WEBHOOK_SECRET.", hint, id="reminders.E002")
        )
    found += _addresses()
    if wrong := _no_addresses(defaults.EMAIL_TO):
        hint = 'A list of addresses, such as ["ada@example.org", "Bob <bob@example.org>"].'
        found.append(
            checks.Error(
                f"REMINDERS has entries in EMAIL_TO that are no e-mail addresses: {wrong}.", hint, id="reminders.E003"
            )
        )
    if find_zone(defaults.TIME_ZONE) is None:
        text = f"REMINDERS has the TIME_ZONE {show(defaults.TIME_ZONE)}, which is no time zone here."
        found.append(checks.Error(text, f"Allowed: {ZONE_ALLOWED}.", id="reminders.E004"))
    if wrong := _no_services(defaults.APPRISE):
        hint = "One URL for each name, as the documentation of Apprise has it for the service."
        found.append(
            checks.Error(
                f"REMINDERS has entries in APPRISE that are not the URL of one service: {wrong}.",
                hint,
                id="reminders.E005",
            )
        )
    return found


def _addresses() -> Iterator[checks.CheckMessage]:
    """Find addresses that are none; the one that may be secret as a whole is not shown."""
    if defaults.WEBHOOK_URL and not outgoing.is_address(defaults.WEBHOOK_URL):
        text = f"REMINDERS has a WEBHOOK_URL that cannot be called: {masked_url(defaults.WEBHOOK_URL)}."
        yield checks.Error(text, f"Allowed: {outgoing.ALLOWED}.", id="reminders.E006")
    if defaults.PUBLIC_URL and not outgoing.is_address(defaults.PUBLIC_URL):
        text = f"REMINDERS has a PUBLIC_URL that is no web address: {masked_url(defaults.PUBLIC_URL)}."
        yield checks.Error(text, f"Allowed: {outgoing.ALLOWED}.", id="reminders.E007")
    if defaults.HEARTBEAT_URL and not outgoing.is_address(defaults.HEARTBEAT_URL):
        text = "REMINDERS has a HEARTBEAT_URL that cannot be called."
        yield checks.Error(text, f"Allowed: {outgoing.ALLOWED}.", id="reminders.E008")


def _no_services(urls: dict[Any, Any]) -> str:
    """Return the names whose URLs are not those of one service, comma separated; never the URLs, which are secret."""
    if not urls:
        return ""
    from reminders.channels.apprise import AppriseFailed, services_of

    wrong = []
    for name, url in urls.items():
        try:
            services_of(url if type(url) is str else "")
        except AppriseFailed:
            wrong.append(repr(name))
    return ", ".join(wrong)


def _no_addresses(given: list[Any]) -> str:
    return ", ".join(show(each) for each in given if not _is_mail_address(each))


def _is_mail_address(text: Any) -> bool:
    try:
        validate_email(parseaddr(text)[1] if type(text) is str and len(text) <= LONGEST_ADDRESS else None)
    except ValidationError:
        return False
    return True
