"""A row of settings that each object may have, edited on the object's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.forms import BaseInlineFormSet
from django.http import HttpRequest

if TYPE_CHECKING:  # generic in the stubs only
    _FormSet = BaseInlineFormSet[Any, Any, Any]
    _StackedInline = admin.StackedInline[Any, Any]
else:
    _FormSet, _StackedInline = BaseInlineFormSet, admin.StackedInline


class SettingsFormSet(_FormSet):
    """Has a name for its fields of its own: the one that Django makes goes by an accessor, which such rows lack."""

    @classmethod
    def get_default_prefix(cls) -> str:
        """The beginning of each field's name in the form."""
        return "settings"


class SettingsInline(_StackedInline):
    """For a model with a OneToOneField to the object, its primary key. The admin above stores what was changed."""

    formset = SettingsFormSet
    can_delete = False
    max_num = 1

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Django's, with a word on empty fields."""
        (name, options), *others = super().get_fieldsets(request, obj)
        return [(name, {**options, "description": "An empty field means the project's setting."}), *others]

    @staticmethod
    def changes(formset: Any) -> dict[str, Any]:
        """What the user changed, by field; empty when nothing. Django's log of the change is told as well."""
        formset.save(commit=False)
        return {name: form.cleaned_data[name] for form in formset.forms for name in form.changed_data}
