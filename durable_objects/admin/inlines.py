"""A row of settings that each object may have, edited on the object's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.forms import BaseInlineFormSet
from django.http import HttpRequest

from durable_objects.admin.base import HidesSecrets

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

    def initial_form_count(self) -> int:
        """The rows there are by now: somebody else may have made the first one while the page was open."""
        return len(self.get_queryset())


class SettingsInline(HidesSecrets, _StackedInline):
    """For a model with a OneToOneField to the object, its primary key. The admin above stores what was changed."""

    formset = SettingsFormSet
    can_delete = False
    max_num = 1

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Django's, with a word on empty fields."""
        (name, options), *others = super().get_fieldsets(request, obj)
        return [(name, {**options, "description": "An empty field means the project's setting."}), *others]

    def may_edit(self, request: HttpRequest, obj: Any) -> bool:
        """Whether the user may change these settings, and the object that they are of: it takes both."""
        above = self.admin_site.get_model_admin(self.parent_model)
        return self.has_change_permission(request, obj) and above.has_change_permission(request, obj)

    @staticmethod
    def changes(formset: Any) -> dict[str, Any]:
        """What the user changed, by field; empty when nothing. Django's log of the change is told as well."""
        formset.save(commit=False)
        return {name: form.cleaned_data[name] for form in formset.forms for name in form.changed_data}
