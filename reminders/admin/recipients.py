"""Recipients in admin: where a person is reached, and when not to be disturbed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms.widgets import Script
from django.http import HttpRequest
from django.utils.dateparse import parse_duration
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from durable_objects import durations
from durable_objects.admin import NOTHING, BaseAdmin, ChangesForm
from durable_objects.formatting import number_of
from durable_objects.recurrence.zones import zone_names
from reminders import links
from reminders.conf import defaults
from reminders.models import Recipient

WINDOWS = [
    ("", "none: each reminder by itself"),
    (str(timedelta(minutes=15)), "15 minutes"),
    (str(timedelta(hours=1)), "1 hour"),
    (str(timedelta(hours=3)), "3 hours"),
    (str(timedelta(hours=12)), "12 hours"),
    (str(timedelta(days=1)), "1 day"),
]


class ZoneInput(forms.TextInput):
    """A field for a time zone, which a browser completes from all that there are."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """Add the list of zones behind the field."""
        field = super().render(name, value, {**(attrs or {}), "list": "do-zones"}, renderer)
        zones = format_html_join("", '<option value="{}">', ([zone] for zone in zone_names()))
        return format_html('{}<datalist id="do-zones">{}</datalist>', field, zones)


class RecipientForm(ChangesForm):
    """Never shows the secret again: an empty field leaves it as it is."""

    secret_fields = ("webhook_secret",)
    address_fields = ("webhook_url",)
    time_zone = forms.CharField(
        max_length=100,
        initial=lambda: defaults.TIME_ZONE,
        widget=ZoneInput(attrs={"class": "vTextField"}),
        help_text="Such as Europe/Berlin: type a part of the name.",
    )
    digest_window = forms.TypedChoiceField(
        label="Digest",
        choices=WINDOWS,
        required=False,
        coerce=parse_duration,
        empty_value=None,
        help_text=Recipient._meta.get_field("digest_window").help_text,
    )
    webhook_secret = forms.CharField(
        required=False,
        max_length=200,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"}),
        help_text="The signing secret, whsec_… (Standard Webhooks); two, separated by a blank, both sign. Never "
        "shown; leave it empty to keep the one that is set.",
    )

    class Meta:
        labels: ClassVar[Any] = {"webhook_url": "Webhook URL", "email": "E-mail"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        window = self.instance.digest_window
        if window is not None and str(window) not in dict(WINDOWS):
            setattr(self.fields["digest_window"], "choices", [*WINDOWS, (str(window), durations.write(window))])


@admin.register(Recipient)
class RecipientAdmin(BaseAdmin):
    """Everyone whom reminders are for."""

    form = RecipientForm
    list_display: Any = ("name", "time_zone", "quiet_hours", "window", "email")
    search_fields = ("name",)
    fields = ("name", "time_zone", "quiet_hours", "digest_window", "email", "webhook_url", "webhook_secret", "calendar")
    readonly_fields = ("calendar",)
    secret_fields = ("webhook_url", "webhook_secret", "calendar")
    actions = ("renew_calendar",)
    show_full_result_count = False

    class Media:
        css: ClassVar[Any] = {"all": ["durable_objects/admin.css"]}
        js = (Script("durable_objects/copy.js", defer=True),)

    @admin.display(description="digest", ordering="digest_window")
    def window(self, row: Recipient) -> str:
        """Show how long reminders are gathered."""
        return durations.write(row.digest_window) if row.digest_window else NOTHING

    @admin.display(description="calendar feed")
    def calendar(self, row: Recipient) -> SafeString | str:
        """Show the secret address of the person's calendar, to be followed or copied."""
        if not row.pk:
            return NOTHING
        address = f"{defaults.PUBLIC_URL.rstrip('/')}{links.feed_url(row)}"
        return format_html('<a href="{}" data-copy>{}</a>', address, address)

    @admin.action(description="Replace the calendar address; the old one stops working", permissions=["change"])
    def renew_calendar(self, request: HttpRequest, queryset: QuerySet[Recipient]) -> None:
        """Give each a new calendar address, where the old one got into wrong hands."""
        for row in queryset:
            row.feed_version += 1
            row.save(update_fields=["feed_version"])
            self.log_change(request, row, "Calendar address renewed.")
        self.message_user(
            request, f"{number_of(len(queryset), 'calendar address', 'calendar addresses')} renewed.", messages.SUCCESS
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Make the name read-only once it is saved: reminders refer to it."""
        return [*self.readonly_fields, "name"] if obj is not None else self.readonly_fields
