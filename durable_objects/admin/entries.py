"""Editing entries: through a turn of their object, refused if the value changed since it was shown, and logged."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.admin.utils import unquote
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html

from durable_objects.admin import display
from durable_objects.admin.base import EngineAdmin, address_on, allows, key_of
from durable_objects.admin.forms import ChangesForm
from durable_objects.admin.log import OF_STORAGE
from durable_objects.conf import engine
from durable_objects.entries import serializer, typed
from durable_objects.errors import DurableObjectError, InvalidInput
from durable_objects.models import as_handle
from durable_objects.operations import entries
from durable_objects.tables import Entry, Object
from durable_objects.validation import check_key

#: Characters of a stored value that a form takes, and of one in the log.
MOST_CHARACTERS = 100_000
IN_LOG = 500


class EntryForm(ChangesForm):
    """A value as type and text, and the version of what was shown."""

    key = forms.CharField(
        strip=False, widget=forms.TextInput(attrs={"class": "vTextField"}), help_text="1 to 2,048 bytes of text."
    )
    value_type = forms.ChoiceField(
        label="Type", choices=[(name, f"{one.title}: {one.looks}") for name, one in typed.TYPES.items()]
    )
    value_text = forms.CharField(
        label="Value",
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"class": "vLargeTextField do-code", "rows": 10, "spellcheck": "false"}),
    )
    seen = forms.CharField(widget=forms.HiddenInput, required=False)

    #: The object of a new entry.
    target: Object | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is None:
            return
        self.fields.pop("key", None)
        self.target = self.instance.object
        stored = stored_text(self.instance)
        with suppress(ValueError):  # what cannot be read is only shown
            self.initial["value_type"], self.initial["value_text"] = typed.written(stored)
        self.initial["seen"] = entries.version_of(stored)

    def clean(self) -> dict[str, Any]:
        """Read the value; say at once what the turn would refuse."""
        given = {**self.cleaned_data}
        if self.instance.pk is not None:
            self.refuse_changed(str(given.get("seen", "")))
        if "value_type" not in given or "value_text" not in given:
            return given
        try:
            given["value"] = typed.read(given["value_type"], given["value_text"].replace("\r\n", "\n"))
            serializer.encode(given["value"])
        except InvalidInput as error:
            self.add_error("value_text", str(error))
        return given

    def clean_key(self) -> str:
        """Check the key of a new entry."""
        key = str(self.cleaned_data["key"])
        try:
            check_key(key)
            if self.target is not None:
                entries.refuse_masked(self.target, key)
        except DurableObjectError as error:
            raise ValidationError(str(error)) from error
        if Entry.objects.filter(object=self.target, key=key).exists():
            raise ValidationError(f"There is a value under this key already: {display.label(key)}.")
        return key

    def refuse_changed(self, seen: str) -> None:
        """Add an error where another value is there by now than the one that this was meant for."""
        stored = stored_text(self.instance)
        if seen != entries.version_of(stored):
            self.add_error("value_text", format_html(CHANGED, display.short(stored, IN_LOG)))


#: The link without an address is the page's own.
CHANGED = (
    "The value was changed meanwhile, and yours is not stored. It is now: {}. "
    '<a href="">Open the page again</a> to change what is there now.'
)


class EditsEntries(EngineAdmin):
    """Adds, changes and deletes entries for whoever may do that to entries and may change their object."""

    form = EntryForm
    delete_confirmation_template = "admin/durable_objects/delete_entry.html"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        target = self.target_of(request)
        return target is not None and super().has_add_permission(request) and self._may_change(request, target)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and obj is not None and self._is_editable(obj) and self._may_change(request, obj.object)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_delete_permission(request, obj)
        return allowed and obj is not None and self._is_seen(obj) and self._may_change(request, obj.object)

    def target_of(self, request: HttpRequest) -> Object | None:
        """Return the object that an entry is to be added to: the address of the form names it."""
        key = key_of(Object, request.GET.get("object", ""))
        return None if key is None else Object.objects.using(engine.DATABASE).filter(pk=key).first()

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ("key", "value_type", "value_text", "seen")
        if self.has_change_permission(request, obj):
            return ("object_label", "key_label", "bytes", "value_type", "value_text", "seen")
        return ("object_label", "key_label", "kind", "bytes", "whole")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if obj is None else ("object_label", "key_label", "kind", "bytes", "whole")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Return the form; that of a new entry knows its object."""
        form = super().get_form(request, obj, change, **kwargs)
        return form if obj is not None else type(form.__name__, (form,), {"target": self.target_of(request)})

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Offer no adding here: it takes an object, whose page offers it."""
        return super().changelist_view(request, {**(extra_context or {}), "has_add_permission": False})

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        extra = {"show_save_and_add_another": False, "show_save_and_continue": False, **(extra_context or {})}
        try:
            return super().changeform_view(request, object_id, form_url, extra)
        except DurableObjectError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Put the value in a turn."""
        given, target = form.cleaned_data, form.target
        key, seen = (obj.key, given["seen"]) if change else (given["key"], entries.ABSENT)
        done = entries.put(target, key, given["value"], seen=seen)
        obj.object, obj.key = target, key
        obj.pk = Entry.objects.using(engine.DATABASE).values_list("pk", flat=True).get(object=target, key=key)
        if done.old != done.new:
            self._log(request, target, done, CHANGE if change else ADDITION)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete the key in a turn."""
        done = entries.delete(obj.object, obj.key, seen=request.POST.get("seen", ""))
        self._log(request, obj.object, done, DELETION)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Ask, showing what would be deleted; report what the turn refuses, as where another value is there by now."""
        row = self.get_object(request, unquote(object_id))
        stored = "" if row is None else stored_text(row)
        shown = display.short(stored, IN_LOG) if self.has_view_permission(request, row) else ""
        context = {"key": display.label(str(row)), "shown": shown, "seen": entries.version_of(stored)}
        try:
            return super().delete_view(request, unquote(object_id), {**context, **(extra_context or {})})
        except DurableObjectError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]  # _log has done it
        """Write nothing: the object's log has it."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]  # likewise
        """Write nothing: the object's log has it."""

    def log_deletions(self, request: HttpRequest, queryset: Any) -> None:  # type: ignore[override]  # likewise
        """Write nothing: the object's log has it."""

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> HttpResponse:
        """Lead to the object's page."""
        return self._back(request, obj.object, f"Added: {display.label(obj.key)}.")

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """Lead to the object's page."""
        return self._back(request, obj.object, f"Saved: {display.label(obj.key)}.")

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: Any) -> HttpResponse:
        """Lead to the page of the object whose entry it was."""
        target = getattr(request, "_deleted_of", None)
        return self._back(request, target, f"Deleted: {display.label(obj_display)}.")

    def _back(self, request: HttpRequest, target: Any, message: str) -> HttpResponse:
        self.message_user(request, message, messages.SUCCESS)
        page = address_on(self.admin_site, "durable_objects_object_change", target.pk)
        entries_of = address_on(self.admin_site, "durable_objects_entry_changelist", object=target.pk)
        return HttpResponseRedirect(f"{page}#storage" if page else entries_of)

    def _log(self, request: HttpRequest, target: Object, done: entries.Change, flag: int) -> None:
        """Write to the object's log what was there and what is."""
        setattr(request, "_deleted_of", target)
        old, new = (None if text is None else display.short(text, IN_LOG) for text in (done.old, done.new))
        what = {ADDITION: f"added, {new}", CHANGE: f"{old} → {new}", DELETION: f"deleted, it was {old}"}[flag]
        user: Any = request.user
        LogEntry.objects.create(
            user_id=user.pk, content_type_id=target.kind_id, object_id=str(target.pk), object_repr=target.name[:200],
            action_flag=CHANGE, change_message=f"{OF_STORAGE}{display.label(done.key)}: {what}",
        )  # fmt: skip

    def _may_change(self, request: HttpRequest, target: Object) -> bool:
        handle = as_handle(target)
        return handle is not None and allows(self.admin_site, request, "change", type(handle), handle)

    def _is_seen(self, obj: Any) -> bool:
        return not display.masked(obj.object)(obj.key)

    def _is_editable(self, obj: Any) -> bool:
        size: int | None = getattr(obj, "size", None)
        return self._is_seen(obj) and size is not None and size <= MOST_CHARACTERS and _is_readable(obj)


def stored_text(row: models.Model) -> str:
    """Return the entry's stored text as it is now; empty if it is gone."""
    return Entry.objects.using(engine.DATABASE).filter(pk=row.pk).values_list("value", flat=True).first() or ""


def _is_readable(row: Any) -> bool:
    try:
        typed.written(stored_text(row))
    except ValueError:
        return False
    return True
