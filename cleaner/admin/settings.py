"""The form of a cleaner's own settings: spans as people write them, and what is cleaned as one choice."""

from __future__ import annotations

from typing import Any

from django import forms

from cleaner.conf import defaults
from cleaner.setting_rules import allowed_models
from cleaner.tables import CleanerSettings
from cleaner.targets import OwnStorage
from durable_objects import durations
from durable_objects.admin import ChangesForm, SettingsInline, SpanField


class CleanerSettingsForm(ChangesForm):
    """Only what ``CLEANER["MODELS"]`` allows can be chosen."""

    cleans = forms.ChoiceField(required=False, label="Cleans", help_text="Its own storage, or rows of a model.")
    interval = SpanField(required=False, label="Every", help_text="The time between cleanups: 1h 30m, 90s, 1d.")
    max_age = SpanField(required=False, label="Older than", help_text="What is older is deleted: 1d, 2w, 12h.")

    class Meta:
        model = CleanerSettings
        fields = ("interval", "max_age")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chosen = "" if self.instance.target == OwnStorage.name else self.instance.target
        allowed = [f"{label}.{field}" for label, fields in allowed_models().items() for field in fields]
        choices = [("", "its own storage, by timestamp"), *((name, name) for name in allowed)]
        if chosen and chosen not in allowed:
            choices.append((chosen, f"{chosen} (not allowed any more)"))
        self.initial["cleans"] = chosen
        setattr(self.fields["cleans"], "choices", choices)
        for name, project in (("interval", defaults.INTERVAL), ("max_age", defaults.MAX_AGE)):
            self.fields[name].widget.attrs["placeholder"] = durations.write(project)

    def clean(self) -> dict[str, Any] | None:
        """Put the choice on the row, whose own ``clean()`` then checks it."""
        if "cleans" in self.changed_data:
            label, _, field = self.cleaned_data.get("cleans", "").rpartition(".")
            self.instance.model, self.instance.field = label, field
        return super().clean()


class CleanerSettingsInline(SettingsInline):
    """A cleaner's own settings."""

    model = CleanerSettings
    form = CleanerSettingsForm
    fields = ("cleans", "interval", "max_age")


def changes_of(formset: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the arguments for ``configure()``, and which fields were emptied, which means the project's setting."""
    changes = SettingsInline.changes(formset)
    if "cleans" in changes:
        label, _, field = changes.pop("cleans").rpartition(".")
        changes |= {"model": label, "field": field or None}
    emptied: list[str] = [name for name in ("interval", "max_age") if name in changes and changes[name] is None]
    return changes, emptied
