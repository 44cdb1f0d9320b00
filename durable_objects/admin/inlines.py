"""Settings that each object may have in a row of their own, edited on the object's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib import admin
from django.db.models import Model
from django.forms import BaseInlineFormSet
from django.http import HttpRequest

from durable_objects.admin import theme
from durable_objects.admin.base import HidesSecrets
from durable_objects.models import DurableObject

if TYPE_CHECKING:  # generic in the stubs only
    _FormSet = BaseInlineFormSet[Any, Any, Any]
    _StackedInline = admin.StackedInline[Any, Any]
else:
    _FormSet, _StackedInline = BaseInlineFormSet, theme.StackedInline


Row = TypeVar("Row", bound=Model)


class SettingsFormSet(_FormSet):
    """Names its form fields by itself: Django takes a reverse accessor's name, which such rows lack."""

    @classmethod
    def get_default_prefix(cls) -> str:
        """Return the prefix of each field's name in the form."""
        return "settings"

    def get_queryset(self) -> Any:
        """Return the rows, each with the object whose page this is: its text names it."""
        rows = super().get_queryset()
        for row in rows:
            setattr(row, self.fk.name, self.instance)
        return rows

    def initial_form_count(self) -> int:
        """Return the number of rows by now: somebody else may have added the first while the page was open."""
        return len(self.get_queryset())


class SettingsInline(HidesSecrets, _StackedInline):
    """For a model whose primary key is a OneToOneField to the object. The object's admin saves what was changed."""

    formset = SettingsFormSet
    can_delete = False
    max_num = 1

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return Django's fieldsets, with a note on empty fields."""
        (name, options), *others = super().get_fieldsets(request, obj)
        return [(name, {**options, "description": "An empty field takes the project's setting."}), *others]

    def is_empty(self, request: HttpRequest, obj: Any) -> bool:
        """Return whether nothing is set, and the user may not set it: Django would show fields to fill in all the same,
        as it does to everybody where a row is the only one.
        """
        above = self.admin_site.get_model_admin(self.parent_model)
        may_set = self.has_add_permission(request, obj) and above.has_change_permission(request, obj)
        return not may_set and not self.get_queryset(request).filter(pk=obj.pk).exists()

    def may_edit(self, request: HttpRequest, obj: Any) -> bool:
        """Return whether the user may change both these settings and their object."""
        above = self.admin_site.get_model_admin(self.parent_model)
        return self.has_change_permission(request, obj) and above.has_change_permission(request, obj)

    @staticmethod
    def stored(context: dict[str, Any], handle: DurableObject, model: type[Row]) -> Row | None:
        """Return the object's row of settings: as the form on the page has read it, where that shows what is stored."""
        forms = [each.formset for each in context["inline_admin_formsets"]]
        read = [each for each in forms if each.model is model and not each.is_bound]
        return next(iter(read[0].get_queryset()), None) if read else handle.row_of(model)

    @staticmethod
    def changes(formset: Any) -> dict[str, Any]:
        """Return what the user changed, by field; empty if nothing. Django's log of the change gets it too."""
        formset.save(commit=False)
        return {name: form.cleaned_data[name] for form in formset.forms for name in form.changed_data}
