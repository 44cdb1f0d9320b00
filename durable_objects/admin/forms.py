"""Forms that save what their user changed, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.forms.fields import InvalidJSONInput
from django.forms.utils import flatatt
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from durable_objects import durations, kinds
from durable_objects.conf import engine
from durable_objects.errors import InvalidInput, InvalidName
from durable_objects.formatting import class_name, label
from durable_objects.masking import MASK, masked_url
from durable_objects.operations import bulk, bulk_verbs, reasons
from durable_objects.operations.bulk_verbs import Argument, BulkVerb
from durable_objects.validation import check_name, text_flaw

if TYPE_CHECKING:  # generic in the stubs only
    _ModelForm = forms.ModelForm[Any]
else:
    _ModelForm = forms.ModelForm

#: Who means longer leaves it open.
LONGEST_PAUSE = timedelta(days=366)


_SELECTED = mark_safe(" selected")


class LongSelect(forms.Select):
    """A choice of hundreds, whose options are written at once: Django renders two templates for each of them."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """Return the element as Django would, of choices without groups."""
        given = flatatt(self.build_attrs({**self.attrs, "name": name}, attrs))
        chosen = self.format_value(value)
        options = format_html_join(
            "\n",
            '<option value="{}"{}>{}</option>',
            ((key, _SELECTED if str(key) in chosen else "", text) for key, text in self.choices),
        )
        return format_html("<select{}>{}</select>", given, options)


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


class SpanField(forms.DurationField):
    """A span of time as people write it: ``15m``, ``1d 2h``."""

    def prepare_value(self, value: Any) -> Any:
        """Write the span in the form that the field reads."""
        return durations.write(value) if isinstance(value, timedelta) else value

    def to_python(self, value: Any) -> timedelta | None:
        """Read it; None when empty."""
        if value in self.empty_values:
            return None
        try:
            return durations.parse(str(value))
        except InvalidInput as error:
            raise ValidationError(str(error)) from error


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


class ReasonField(forms.CharField):
    """Why something is done; required for what cannot be undone where ``REQUIRE_REASON`` says so."""

    def __init__(self, help_text: str, *, of_destruction: bool = True) -> None:
        super().__init__(
            max_length=reasons.LONGEST, required=of_destruction and engine.REQUIRE_REASON, help_text=help_text
        )

    def clean(self, value: Any) -> str:
        """Return the reason. Raises ``ValidationError``."""
        try:
            return reasons.read(super().clean(value), required=self.required)
        except InvalidInput as error:
            raise ValidationError(str(error)) from error


class ReasonForm(forms.Form):
    """Why something is done that cannot be undone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"] = ReasonField("Kept in the history of each object, and in the log.")


class OptionalReasonForm(forms.Form):
    """Why something is done, for whoever looks at it later."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"] = ReasonField("Kept in the history of each.", of_destruction=False)


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
    lasts = SpanField(
        required=False,
        label="For",
        help_text="It ends by itself after this time: 15m, 1h 30m, 2d. Empty: it lasts until it is resumed.",
        validators=[
            MinValueValidator(timedelta(seconds=1), "It has to last for at least 1s."),
            MaxValueValidator(LONGEST_PAUSE, "More than 366d: leave it empty, and it lasts until it is resumed."),
        ],
    )

    def clean(self) -> dict[str, Any]:
        """Return how long it lasts as ``until``."""
        given = {**self.cleaned_data}
        until = given.pop("lasts", None)
        return {**given, "until": until}


class PausesForm(PauseForm, ChangesForm):
    """Pauses everything, or a class."""

    what = forms.ChoiceField(choices=lambda: [("", "Everything"), *_classes()], required=False, label="What")
    field_order = ("what", "reason", "lasts")


def _classes() -> list[tuple[str, str]]:
    """Return the classes that can be chosen: those of this code, and those that only the database knows."""
    known = [kind for kind in kinds.content_types().all() if kinds.class_of(kind) is not None]
    return sorted([(str(kind.pk), class_name(kind)) for kind in [*known, *kinds.unknown()]], key=itemgetter(1))


class ChooseVerbForm(forms.Form):
    """Which verb is done to what."""

    verb = forms.ChoiceField(choices=lambda: [(verb.name, _in_choice(verb)) for verb in bulk_verbs.every()])
    selection = forms.CharField(
        required=False,
        max_length=2_000,
        widget=forms.TextInput(attrs={"size": 80}),
        help_text='What it is done to: class:shop.Cart state:dead name:eu-* error:"words of it" due<1h late>5m tried>3',
    )

    @property
    def verbs(self) -> list[tuple[str, str]]:
        """What each verb does, as its question says."""
        return [(_in_choice(verb), verb.effect) for verb in bulk_verbs.every()]


class OperationForm(forms.Form):
    """What a verb takes; ``given`` is what ``operations.bulk.start`` takes, once it is valid."""

    def __init__(self, verb: BulkVerb, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._verb = verb
        self.given: dict[str, Any] = {}
        for each in verb.arguments:
            self.fields[each.name] = _field_of(each)
        self.fields["reason"] = ReasonField(
            "Kept with the operation, and in the history of each object.", of_destruction=verb.is_destructive
        )
        self.fields["rate"] = forms.FloatField(
            min_value=bulk.LEAST_RATE,
            max_value=bulk.MOST_RATE,
            required=False,
            label="Objects a second, at most",
            help_text="Empty: as fast as it goes.",
        )

    def clean(self) -> dict[str, Any]:
        """Read what the verb takes."""
        cleaned = {**self.cleaned_data}
        rate, reason = cleaned.pop("rate", None), cleaned.pop("reason", "")
        try:
            self._verb.read(cleaned)
            self.given = {"arguments": cleaned, "reason": reason, "rate": rate}
        except InvalidInput as error:
            raise ValidationError(str(error)) from error
        return cleaned


def _in_choice(verb: BulkVerb) -> str:
    return f"{verb.label} ({verb.of._meta.verbose_name_plural})" if verb.of is not None else verb.label


def _field_of(argument: Argument) -> forms.Field:
    if argument.is_time:
        widget = forms.DateTimeInput(attrs={"type": "datetime-local"})
        zone = f"In the zone {timezone.get_current_timezone_name()}."
        return forms.DateTimeField(required=argument.required, label=argument.label, help_text=zone, widget=widget)
    text = argument.help[:1].upper() + argument.help[1:] + "."
    return forms.CharField(required=argument.required, label=argument.label, help_text=text, max_length=50)
