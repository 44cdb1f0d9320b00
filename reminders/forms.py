"""The form of a reminder in admin: local time and zone, how it repeats, where it is delivered; a preview, and no
script.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from durable_objects import InvalidInput, now
from durable_objects.admin import LongSelect, NameForm
from durable_objects.formatting import span
from durable_objects.recurrence.zones import find_zone, zone_names
from reminders import channels
from reminders.channels import Message
from reminders.conf import defaults
from reminders.delivery import message_of
from reminders.models import Plan, Recipient, Reminder
from reminders.recurrence import Occurrence, Series, check_zone
from reminders.repeats import CUSTOM, DAYS, REPEATS, WEEKLY, choice_of, on_days
from reminders.validation import ARGUMENTS, checked, opening

LATE = [
    ("", "deliver, marked as late"),
    ("300", "skip after 5 minutes"),
    ("1800", "skip after 30 minutes"),
    ("3600", "skip after 1 hour"),
    ("21600", "skip after 6 hours"),
    ("86400", "skip after 1 day"),
]
SHOWN_AHEAD = 5
#: The fields that each argument of a reminder is made of, where that is not the one of its name.
FIELDS_OF = {
    "fire_at": {"local_time", "time_zone"},
    "time_zone": {"local_time", "time_zone"},
    "recurrence": {"repeats", "week_days", "rule"},
}


@dataclass(frozen=True)
class Ahead:
    """A time at which it is delivered, with a note, and what time that is for its person."""

    each: Occurrence
    note: str
    there: str


class ReminderForm(NameForm):
    """Sets a reminder, or edits one. A POST with ``_preview`` is validated and shown again, and never valid."""

    message = forms.CharField(
        strip=False, widget=forms.Textarea(attrs={"rows": 3, "cols": 60}), help_text="The first line is the subject."
    )
    local_time = forms.CharField(label="When", widget=forms.TextInput(attrs={"type": "datetime-local", "step": "any"}))
    time_zone = forms.ChoiceField(
        choices=lambda: [(name, name) for name in zone_names()],
        widget=LongSelect,
        help_text="A series follows the wall clock there: 09:00 stays 09:00 when summer time begins.",
    )
    repeats = forms.ChoiceField(choices=REPEATS, required=False)
    week_days = forms.MultipleChoiceField(
        choices=DAYS,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label="On",
        help_text="For “Every week”. None: on the day of the week of its first time.",
    )
    rule = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 2, "cols": 60, "placeholder": "FREQ=MONTHLY;BYDAY=-1FR;COUNT=12"}),
        help_text="An RRULE of RFC 5545, and below it a line such as EXDATE:20300602T090000 for each time left out.",
    )
    person = forms.CharField(
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"class": "vTextField", "list": "do-people"}),
        help_text="Who gets it: a name from Recipients, whose addresses and quiet hours apply.",
    )
    channels = forms.MultipleChoiceField(
        choices=lambda: [(name, name) for name in channels.names()], widget=forms.CheckboxSelectMultiple
    )
    urgent = forms.BooleanField(required=False, help_text="Delivered in quiet hours too.")
    skip_if_late = forms.ChoiceField(choices=LATE, required=False, label="When it is late")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        plan = self.instance.plan() if self.instance.pk else None
        self.preview: list[Ahead] = []
        self.delivered: Message | None = None
        if self.instance.pk:
            del self.fields["name"]
        self.initial = {**(_initial(plan) if plan else _fresh()), **(self.initial or {})}
        late = self.fields["skip_if_late"]
        if plan and plan.skip_if_late and self.initial["skip_if_late"] not in dict(LATE):
            own = (self.initial["skip_if_late"], f"skip after {plan.skip_if_late}")
            setattr(late, "choices", [*LATE, own])
        zone = self.fields["time_zone"]
        if plan and find_zone(plan.time_zone) is None:
            gone = (plan.time_zone, f"{plan.time_zone} (not known here any more)")
            setattr(zone, "choices", [gone, *((name, name) for name in zone_names())])
        if plan and plan.state == Plan.State.SET and not self.is_bound:
            self.delivered = message_of(plan, self.instance.name, plan.next_at)
            with suppress(InvalidInput):  # its rule is invalid by now: there is nothing to preview
                self.preview = _ahead(plan)

    @property
    def previews(self) -> bool:
        """Whether a preview was asked for and nothing is to be saved."""
        return "_preview" in self.data

    def is_valid(self) -> bool:
        """Return False for a preview, so that the form is shown again."""
        return super().is_valid() and not self.previews

    def clean_local_time(self) -> datetime:
        """Return the wall time, without a zone."""
        text = self.cleaned_data["local_time"]
        try:
            wall_time = datetime.fromisoformat(text)
        except ValueError:
            raise ValidationError(f"{text!r} is not a date and time. Allowed: such as 2030-01-31T09:00.") from None
        if wall_time.tzinfo is not None:
            raise ValidationError("Enter the time without an offset: the time zone beside it says which clock.")
        return wall_time

    def clean_time_zone(self) -> str:
        """Refuse a zone that is not known here any more."""
        try:
            return check_zone(self.cleaned_data["time_zone"]).key
        except InvalidInput as refused:
            raise ValidationError(str(refused)) from refused

    def clean(self) -> dict[str, Any]:
        """Apply the reminder's own rules, and fill the preview."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("rule", "").strip() and cleaned.get("repeats", CUSTOM) != CUSTOM:
            chosen, needed = (f"“{dict(REPEATS)[choice]}”" for choice in (cleaned["repeats"], CUSTOM))
            self.add_error("repeats", f"{chosen} does not use the rule below. Choose {needed}, or empty the rule.")
            self.add_error("rule", f"This rule is not used with {chosen}. Empty it, or choose {needed}.")
        if cleaned.get("week_days") and cleaned.get("repeats", WEEKLY) != WEEKLY:
            chosen, needed = (f"“{dict(REPEATS)[choice]}”" for choice in (cleaned["repeats"], WEEKLY))
            self.add_error("week_days", f"{chosen} does not use week days. Choose {needed}, or untick them.")
        if self.errors:
            return cleaned
        try:
            fields = checked(self.arguments())
            opening(fields)
            moment = now()
            ahead = fields["recurrence"] or fields["fire_at"] > moment
            series = Series(fields["fire_at"], fields["recurrence"], fields["time_zone"])
            name = cleaned.get("name", self.instance.name)
            self.delivered = Message("", name, fields["message"], fields["fire_at"], fields["person"])
            self.preview = _preview(series, fields, moment if ahead else fields["fire_at"] - timedelta(microseconds=1))
        except InvalidInput as refused:
            raise ValidationError(str(refused)) from refused
        return cleaned

    def arguments(self) -> dict[str, Any]:
        """Return what was entered, as ``set_reminder`` takes it."""
        given = self.cleaned_data
        wall_time: datetime = given["local_time"].replace(tzinfo=check_zone(given["time_zone"]))
        rule = on_days(given["week_days"]) if given["repeats"] == WEEKLY else given["repeats"] or None
        if given["repeats"] == CUSTOM:
            rule = given["rule"].strip() or None
        if given["repeats"] == CUSTOM and rule is None:
            raise InvalidInput("The rule below is empty. Enter an RRULE, or choose another way to repeat.")
        late = given["skip_if_late"]
        return {
            "message": given["message"].replace("\r\n", "\n"),
            "fire_at": wall_time,
            "recurrence": rule.replace("\r\n", "\n") if rule else None,
            "time_zone": given["time_zone"],
            "channels": given["channels"],
            "person": given["person"],
            "urgent": given["urgent"],
            "skip_if_late": timedelta(seconds=float(late)) if late else None,
        }

    def store(self, reminder: Reminder) -> None:
        """Set the reminder, or edit the one that is set. Raises ``InvalidInput``."""
        plan = reminder.plan()
        arguments = self.arguments()
        if plan is None or plan.state != Plan.State.SET:
            reminder.set_reminder(arguments.pop("message"), arguments.pop("fire_at"), **arguments)
            return
        changed = {*self.changed_data}
        given = {name: arguments[name] for name in ARGUMENTS if FIELDS_OF.get(name, {name}) & changed}
        if changes := {name: value for name, value in given.items() if value != getattr(plan, name)}:
            reminder.edit_reminder(**changes)


def _initial(plan: Plan) -> dict[str, Any]:
    repeats, week_days = choice_of(plan.recurrence)
    local = plan.starts_at.replace(tzinfo=None)
    return {
        "message": plan.message,
        # A browser's field takes no more; store() keeps the rest of a time that nobody touched.
        "local_time": local.isoformat(timespec="seconds" if local.second else "minutes"),
        "time_zone": plan.time_zone,
        "repeats": repeats,
        "week_days": week_days,
        "rule": plan.recurrence if repeats == CUSTOM else "",
        "person": plan.person,
        "channels": plan.channels,
        "urgent": plan.urgent,
        "skip_if_late": f"{plan.skip_if_late.total_seconds():g}" if plan.skip_if_late else "",
    }


def _fresh() -> dict[str, Any]:
    in_an_hour = now().astimezone(find_zone(defaults.TIME_ZONE) or UTC) + timedelta(hours=1)
    return {
        "local_time": in_an_hour.replace(tzinfo=None, minute=0, second=0, microsecond=0).isoformat(timespec="minutes"),
        "time_zone": defaults.TIME_ZONE,
        "channels": defaults.CHANNELS,
        "skip_if_late": "",
    }


def _ahead(plan: Plan) -> list[Ahead]:
    """Return what is delivered next: the coming one, also where it was put off, and then those of the series."""
    series, fields = plan.series, vars(plan)
    if plan.put_off != Plan.SNOOZED:
        return _preview(series, fields, plan.occurrence - timedelta(microseconds=1))
    local = plan.next_at.astimezone(plan.zone)
    note = f"Snoozed: it was to come {plan.occurrence.astimezone(plan.zone):%a %d %b, %H:%M}."
    snoozed = Ahead(Occurrence(plan.next_at, local), note, _there(plan.next_at, plan.zone, plan.person))
    return [snoozed, *_preview(series, fields, max(plan.occurrence, now()))][:SHOWN_AHEAD]


def _preview(series: Series, fields: dict[str, Any], after: datetime) -> list[Ahead]:
    """Return the next occurrences, each with a note where it is not delivered as planned."""
    recipient = Recipient.find(fields["person"])
    zone = find_zone(fields["time_zone"]) or UTC
    shown = []
    for each in series.preview(SHOWN_AHEAD, after):
        notes = [each.note] if each.note else []
        held = each.at if fields["urgent"] else recipient.undisturbed(each.at)
        if held != each.at:
            there = held.astimezone(check_zone(recipient.time_zone))
            notes.append(f"Held by quiet hours until {there:%a %H:%M} ({recipient.time_zone}).")
        if window := recipient.window_for(urgent=fields["urgent"], skip_if_late=fields["skip_if_late"]):
            notes.append(f"Then waits for the digest of {recipient.name}, {span(window)} at most.")
        shown.append(Ahead(each, " ".join(notes), _there(each.at, zone, fields["person"])))
    return shown


def _there(at: datetime, zone: tzinfo, person: str) -> str:
    """Return the time on the person's own clock, if that shows another."""
    found = Recipient.objects.filter(name=person).first() if person else None
    theirs = find_zone(found.time_zone) if found else None
    if theirs is None or at.astimezone(theirs).utcoffset() == at.astimezone(zone).utcoffset():
        return ""
    return f"{at.astimezone(theirs):%a %H:%M} for {person} ({theirs.key})"
