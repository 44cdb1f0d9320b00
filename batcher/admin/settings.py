"""The form of a batcher's own settings. What is secret in them can be typed, and never read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db import models
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from batcher.conf import defaults
from batcher.tables import BatcherSettings
from durable_objects import durations
from durable_objects.admin import NOTHING, ChangesForm, ReadableJSONField, SettingsInline, SpanField
from durable_objects.masking import MASK


class UnseenJSONField(ReadableJSONField):
    """JSON that can be typed; what is stored is never put into the page."""

    def prepare_value(self, value: Any) -> Any:
        """Return what was typed and refused, and else nothing."""
        return value if isinstance(value, str) else ""


class BatcherSettingsForm(ChangesForm):
    """Fields for secrets come empty, and the address with a mask for its password: left so they change nothing."""

    secret_fields = ("headers", "secret")
    address_fields = ("upstream_url",)

    headers = UnseenJSONField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "cols": 60, "placeholder": '{"Authorization": "Bearer …"}'}),
        label="New headers",
        help_text="A JSON object of header names and values. It replaces all that are set; {} removes them.",
    )
    secret = forms.CharField(
        required=False,
        widget=forms.PasswordInput(attrs={"class": "vTextField", "autocomplete": "new-password"}),
        label="New signing secret",
        help_text="whsec_ and the secret in base64: signs posts as Standard Webhooks. Two, with a space, both sign.",
    )

    window = SpanField(required=False, help_text="From a batch's first item until it goes: 10s, 1m 30s.")
    quiet = SpanField(required=False, help_text="It goes when no item came for so long: 2s.")
    give_up_after = SpanField(required=False, help_text="After this a batch is failed: 1d, 12h.")

    class Meta:
        model = BatcherSettings
        exclude = ("object",)
        labels: ClassVar[Any] = {"upstream_url": "Upstream URL"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("gzip", "bisect"):
            project = "yes" if getattr(defaults, name.upper()) else "no"
            choices = [("unknown", f"the project's: {project}"), ("true", "yes"), ("false", "no")]
            self.fields[name].widget = forms.NullBooleanSelect()
            self.fields[name].widget.choices = choices
        for name in ("window", "quiet", "max_items", "max_bytes", "max_queued", "max_retries", "give_up_after"):
            default = getattr(defaults, name.upper())
            shown = durations.write(default) if isinstance(default, timedelta) else f"{default:,}"
            self.fields[name].widget.attrs |= {"placeholder": shown, "size": 12}


class BatcherSettingsInline(SettingsInline):
    """A batcher's own settings; the secret ones are shown masked."""

    model = BatcherSettings
    form = BatcherSettingsForm
    secret_fields = ("upstream_url", "headers", "secret")
    fields = (
        "upstream_url",
        ("window", "quiet"),
        ("max_items", "max_bytes", "max_queued"),
        ("max_retries", "give_up_after"),
        ("gzip", "bisect"),
        "masked_headers",
        "headers",
        "masked_secret",
        "secret",
    )
    readonly_fields = ("masked_headers", "masked_secret")
    formfield_overrides = {models.TextField: {"widget": forms.TextInput(attrs={"class": "vLargeTextField"})}}

    @admin.display(description="headers")
    def masked_headers(self, row: BatcherSettings) -> SafeString | str:
        """Show the headers' names, each with a mask for its value; nothing of a value that is not a dict of headers."""
        shown = row.headers if isinstance(row.headers, dict) else {}
        return format_html_join("", "<div>{}: {}</div>", ((name, MASK) for name in shown)) or NOTHING

    @admin.display(description="signing secret")
    def masked_secret(self, row: BatcherSettings) -> str:
        """Show a mask if there is one."""
        return MASK if row.secret else NOTHING
