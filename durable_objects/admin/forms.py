"""Forms that save what their user changed, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.forms.fields import InvalidJSONInput

from durable_objects import kinds
from durable_objects.errors import InvalidName
from durable_objects.formatting import class_name, label
from durable_objects.masking import MASK, masked_url
from durable_objects.validation import check_name, text_flaw

if TYPE_CHECKING:  # generic in the stubs only
    _ModelForm = forms.ModelForm[Any]
else:
    _ModelForm = forms.ModelForm

#: A year: who means longer leaves it open.
MOST_MINUTES = 366 * 24 * 60


class ReadableJSONField(forms.JSONField):
    """JSON that can be read, and that every supported database can store.

    Django's own field raises for JSON that is nested too deeply or has a number that is too long, and accepts what
    PostgreSQL refuses: NaN, a NUL, a lone surrogate.
    """

    def to_python(self, value: Any) -> Any:
        """Return the value. Raises ``ValidationError``."""
        try:
            read = super().to_python(value)
            text = json.dumps(read, ensure_ascii=False, allow_nan=False)
            if "\\u0000" in text.replace("\\\\", "") or text_flaw(text):
                raise ValueError("a text in it cannot be stored")
        except ValidationError:
            raise
        except (ValueError, RecursionError):
            raise ValidationError(self.error_messages["invalid"], code="invalid", params={"value": "…"}) from None
        return read

    def bound_data(self, data: Any, initial: Any) -> Any:
        """Return what was typed, to be shown again."""
        try:
            return super().bound_data(data, initial)
        except (ValueError, RecursionError):
            return InvalidJSONInput(data)


class ChangesForm(_ModelForm):
    """The form of a row that several people may have open.

    Each field is compared with what the page *showed*, which is sent in hidden fields, and not with what is stored by
    now: a field left unchanged keeps what somebody else wrote into it meanwhile. Fields named in ``secret_fields`` are
    shown empty; left so they change nothing. ``address_fields`` are shown with a mask for user and password.
    """

    secret_fields: ClassVar[Collection[str]] = ()
    address_fields: ClassVar[Collection[str]] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in self.secret_fields:
            self.initial[name] = None
        for name in self.address_fields:
            self.initial[name] = masked_url(self.initial.get(name) or "")
        if self.instance._state.adding and not self.empty_permitted:
            return  # nobody else has it open; but somebody may add settings meanwhile
        for name in self.fields.keys() - set(self.secret_fields):
            self.fields[name].show_hidden_initial = not self.is_bound or self._has_what_was_shown(name)

    def changed_columns(self) -> list[str]:
        """Return the model's fields that were changed, and those that record when (``auto_now``)."""
        changed = set(self.changed_data)
        columns = self._meta.model._meta.concrete_fields
        return [field.name for field in columns if field.name in changed or getattr(field, "auto_now", False)]

    def _post_clean(self) -> None:
        """Validate the row as it is stored by now with the changed fields filled in."""
        entered, changed = self.cleaned_data, {*self.changed_data}
        for name in changed.intersection(self.address_fields):
            if MASK in (entered.get(name) or ""):  # half changed, it would send the password to another server
                self.add_error(
                    name, f"Enter the whole address, with user and password: what {MASK} stands for is not shown."
                )
        asked = self.secret_fields if self.instance._state.adding else entered.keys()
        kept = {name: entered[name] for name in asked if name in entered and name not in changed}
        self.cleaned_data = {name: value for name, value in entered.items() if name not in kept}
        super()._post_clean()  # type: ignore[misc]  # Django's, unknown to the stubs
        self.cleaned_data |= kept

    def _has_what_was_shown(self, name: str) -> bool:
        """Return whether the page sent the hidden field; without it the field is compared with what is stored."""
        widget = self.fields[name].hidden_widget()
        return not widget.value_omitted_from_data(self.data, self.files, self.add_initial_prefix(name))


class ObjectNameField(forms.CharField):
    """The name of a new object, by the engine's own rule."""

    def __init__(self, label: str = "Name") -> None:
        super().__init__(
            label=label,
            max_length=512,
            strip=False,
            widget=forms.TextInput(attrs={"class": "vTextField", "autofocus": True}),
            help_text="Any text of 1 to 512 characters. It cannot be changed afterwards.",
        )

    def clean(self, value: Any) -> str:
        """Return the name. Raises ``ValidationError``."""
        try:
            return check_name(super().clean(value))
        except InvalidName as error:
            raise ValidationError(str(error)) from error


class NameForm(ChangesForm):
    """Adds an object: the name is all that is needed."""

    name = ObjectNameField()

    def clean_name(self) -> str:
        """Check that no object has it yet."""
        name = str(self.cleaned_data["name"])
        if self._meta.model.objects.filter(name=name).exists():
            raise ValidationError(f"An object with this name exists already: {label(name)}.")
        return name


class CopyForm(forms.Form):
    """Where an object is copied to; ``cleaned_data`` is what ``operations.copies.copy`` takes."""

    name = ObjectNameField("Name of the copy")
    armed = forms.BooleanField(
        required=False,
        label="Not paused",
        help_text="Its alarm and schedules may run at once.",
    )


class PauseForm(forms.Form):
    """Why something is paused, and for how long; ``cleaned_data`` is what ``operations.pauses.pause`` takes."""

    reason = forms.CharField(max_length=500, required=False, help_text="Shown to whoever asks why nothing runs.")
    minutes = forms.IntegerField(
        min_value=1,
        max_value=MOST_MINUTES,
        required=False,
        help_text="It ends by itself after this time. Empty: it lasts until it is resumed.",
    )

    def clean(self) -> dict[str, Any]:
        """Return the minutes as ``until``."""
        given = {**self.cleaned_data}
        minutes = given.pop("minutes", None)
        return {**given, "until": timedelta(minutes=minutes) if minutes else None}


class PausesForm(PauseForm, ChangesForm):
    """Pauses everything, or a class."""

    what = forms.ChoiceField(choices=lambda: [("", "Everything"), *_classes()], required=False, label="What")
    field_order = ("what", "reason", "minutes")


def _classes() -> list[tuple[str, str]]:
    """Return the classes that can be chosen: those of this code, and those that only the database knows."""
    known = [kind for kind in kinds.content_types().all() if kinds.class_of(kind) is not None]
    return sorted([(str(kind.pk), class_name(kind)) for kind in [*known, *kinds.unknown()]], key=itemgetter(1))
