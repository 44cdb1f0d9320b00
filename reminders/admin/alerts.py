"""Alerts in admin: rules by a form, silenced and tried out after a question; what was sent, read-only."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from durable_objects import InvalidInput, durations, now
from durable_objects.admin import (
    NOTHING,
    BaseAdmin,
    ChangesForm,
    ReadOnlyAdmin,
    SpanField,
    address_on,
    badge,
    moment,
    now_of,
    sees_every_object,
    when,
)
from durable_objects.conditions import conditions, title_of
from durable_objects.formatting import absolute, gist, short, span
from reminders import channels
from reminders.alerts import silences, validation
from reminders.conf import defaults
from reminders.models import Alert, AlertMessage, AlertRule

#: In place of what an alert says.
UNTOLD = "What it says is not shown: it may quote an object that you may not see."
#: Alerts that a rule's page shows.
ALERTS_SHOWN = 20


class AlertRuleForm(ChangesForm):
    """Refuses what could be neither judged nor sent."""

    condition = forms.ChoiceField(choices=lambda: [(each.name, each.title) for each in conditions()])
    at_least = forms.IntegerField(
        min_value=1, required=False, help_text="From how many on. Empty: the condition's own."
    )
    span = SpanField(
        required=False, label="Time", help_text="How late, or within what time. Empty: the condition's own."
    )
    hold_for = SpanField(label="Must hold for", help_text="Before it is reported, and before its end is.")
    repeat_every = SpanField(required=False, help_text="While it goes on. Empty: it is reported once.")
    channels = forms.MultipleChoiceField(
        choices=lambda: [(name, name) for name in channels.names()], widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fresh = AlertRule(channels=list(defaults.CHANNELS))
        shown = {name: getattr(fresh, name) for name in ("channels", "hold_for", "repeat_every")}
        self.initial = {**shown, **self.initial}
        if "condition" in self.fields:
            known = [(each.name, each.title) for each in conditions()]
            if self.instance.pk and self.instance.condition not in dict(known):
                known.append((self.instance.condition, f"{self.instance.condition} (not known here)"))
            setattr(self.fields["condition"], "choices", known)
            self.fields["condition"].help_text = format_html("What counts where a limit is empty: {}.", _limits())

    def clean(self) -> dict[str, Any]:
        """Apply the rules' own rule."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            given = {name: value for name, value in cleaned.items() if hasattr(AlertRule, name)}
            try:
                validation.check(AlertRule(**given))
            except InvalidInput as refused:
                raise ValidationError(str(refused)) from refused
        return cleaned


class SilenceForm(forms.Form):
    """For how long nothing is reported, and why."""

    lasts = SpanField(label="For", initial="2h", help_text="Such as 30m, 2h, 1d.")
    reason = forms.CharField(max_length=silences.LONGEST_REASON, required=False)


@admin.register(AlertRule)
class AlertRuleAdmin(BaseAdmin):
    """To whom it is reported that alarms are late, dead, parked …"""

    form = AlertRuleForm
    list_display: Any = ("named", "recipients")
    ordering = ("pk",)
    sortable_by = ()
    fields: ClassVar[Any] = (
        "condition", "object_class", "at_least", "span", "hold_for", "repeat_every", "channels", "person", "is_enabled",
    )  # fmt: skip
    change_list_template = "admin/durable_objects/list.html"
    change_form_template = "admin/reminders/alert_rule.html"
    show_full_result_count = False

    class Media:
        css = {"all": ["durable_objects/admin.css", "reminders/admin.css"]}

    def get_list_display(self, request: HttpRequest) -> Any:
        open_alerts = {each.rule_id: each for each in Alert.objects.exclude(state=Alert.State.OVER)}

        @admin.display(description="state")
        def stands(row: AlertRule) -> SafeString:
            return _state(row, open_alerts.get(row.pk), now_of(request))

        @admin.display(description="since")
        def since(row: AlertRule) -> str:
            alert = open_alerts.get(row.pk)
            return when(alert.since, now_of(request)) if alert else NOTHING

        return ["named", stands, since, "recipients"]

    @admin.display(description="rule")
    def named(self, row: AlertRule) -> str:
        """Return it in words."""
        return str(row)

    @admin.display(description="to")
    def recipients(self, row: AlertRule) -> str:
        """Return by which channels, and for whom."""
        return ", ".join(row.channels) + (f" for {row.person}" if row.person else "")

    def get_urls(self) -> list[URLPattern]:
        """Return Django's addresses and those of the verbs."""
        verbs = [
            path(f"<path:object_id>/{verb}/", self.admin_site.admin_view(view), name=f"reminders_alertrule_{verb}")
            for verb, view in (("test", self.test), ("silence", self.silence), ("unsilence", self.unsilence))
        ]
        return [*verbs, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Add how it stands and its last alerts to Django's page."""
        row, shown = self.get_object(request, object_id), {}
        if row is not None:
            alerts = list(row.alerts.order_by("-id")[:ALERTS_SHOWN])
            shown = {
                "rule": row,
                "state": _state(row, alerts[0] if alerts else None, now_of(request)),
                "silenced": absolute(row.silenced_until) if row.is_silenced(now_of(request)) else "",
                "alerts": [_described(self, alert, request) for alert in alerts],
                "may_change": self.has_change_permission(request, row),
                "messages_url": _messages_url(self, row) if self.may_see(request, AlertMessage) else "",
            }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **shown})

    def test(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, then send a test message and show what came of it."""
        row = self._row(request, object_id)
        if request.method != "POST":
            return self._ask(request, row, "Send a test", f"Send a test message by {', '.join(row.channels)}?")
        for sent in silences.test(row):
            is_there = sent.status == AlertMessage.Status.DELIVERED
            text = f"{sent.way}: {sent.status}. {sent.error or sent.answer}".strip()
            self.message_user(request, text, messages.SUCCESS if is_there else messages.ERROR)
        self.log_change(request, row, "Test sent.")
        return self._back(row)

    def silence(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for how long and why, then report nothing of it."""
        row, form = self._row(request, object_id), SilenceForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            user: Any = request.user
            given = form.cleaned_data
            try:
                silences.silence(row, given["lasts"], by=user.get_username(), reason=given["reason"])
            except InvalidInput as refused:
                form.add_error(None, str(refused))
            else:
                until = absolute(row.silenced_until) if row.silenced_until else ""
                self.log_change(request, row, f"Silenced until {until}: {row.silence_reason}".rstrip(": "))
                self.message_user(request, f"Nothing is reported until {until}: {row}.", messages.SUCCESS)
                return self._back(row)
        return self._ask(request, row, "Silence", "Report nothing of this rule for a while?", form)

    def unsilence(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, then end the silence."""
        row = self._row(request, object_id)
        if request.method != "POST":
            return self._ask(request, row, "End the silence", "Report what this rule finds again?")
        if silences.end_silence(row):
            self.log_change(request, row, "Silence ended.")
            self.message_user(request, f"It is reported again: {row}.", messages.SUCCESS)
        return self._back(row)

    def _row(self, request: HttpRequest, object_id: str) -> AlertRule:
        """Return the rule. Raises ``Http404``, and ``PermissionDenied`` for who may not change it."""
        row: AlertRule | None = self.get_object(request, object_id)
        if row is None:
            raise Http404(f"There is no alert rule {object_id}.")
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        return row

    def _ask(
        self, request: HttpRequest, row: AlertRule, label: str, question: str, form: forms.Form | None = None
    ) -> HttpResponse:
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": label,
            "opts": self.opts,
            "media": self.media,
            "rule": row,
            "label": label,
            "question": question,
            "form": form,
            "back_url": self._url(row),
        }
        return TemplateResponse(request, "admin/reminders/alert_question.html", context)

    def _back(self, row: AlertRule) -> HttpResponse:
        return HttpResponseRedirect(self._url(row))

    def _url(self, row: AlertRule) -> str:
        return reverse(f"{self.admin_site.name}:reminders_alertrule_change", args=[row.pk])


@admin.register(AlertMessage)
class AlertMessageAdmin(ReadOnlyAdmin):
    """Every message about an alert, newest first."""

    list_display: Any = ("result", "way", "attempts", "answer_or_error")
    list_select_related = ("rule",)
    list_filter = ("status", "about", "rule")
    fields: ClassVar[Any] = (
        "rule", "about", "text", "channel", "address", "result", moment("made_at"), moment("delivered_at"), "attempts",
        moment("try_at"), "answer", "error", "key",
    )  # fmt: skip
    readonly_fields = fields
    ordering = ("-id",)
    sortable_by = ()
    list_per_page = 50

    class Media:
        css = {"all": ["reminders/admin.css"]}

    def get_list_display(self, request: HttpRequest) -> Any:
        @admin.display(description="message")
        def beginning(row: AlertMessage) -> str:
            return short(_text(self, request, row).partition("\n")[0], 100)

        @admin.display(description="made")
        def made(row: AlertMessage) -> str:
            return when(row.made_at, now_of(request))

        first, *others = self.list_display
        return [beginning, first, made, *others]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the message as the user may read it."""
        row = super().get_object(request, object_id, from_field)
        if row is not None:
            row.text = _text(self, request, row)
        return row

    @admin.display(description="outcome")
    def result(self, row: AlertMessage) -> SafeString | str:
        """Return its status."""
        return badge(row.status)

    @admin.display(description="answer or error")
    def answer_or_error(self, row: AlertMessage) -> str:
        """Return the receiver's answer, or the error."""
        return gist(row.error) or gist(row.answer) or NOTHING


def _text(page: BaseAdmin, request: HttpRequest, row: Alert | AlertMessage) -> str:
    """Return what an alert says: nothing where it may quote an error of an object that the user is not shown."""
    return row.text if sees_every_object(page.admin_site, request) else UNTOLD


def _state(rule: AlertRule, alert: Alert | None, now: Any) -> SafeString:
    return badge(rule.state(alert, now))


def _limits() -> str:
    """Say what each condition's own limits are."""
    own = []
    for each in conditions():
        limits = [f"at least {each.at_least}"] if each.at_least is not None else []
        limits += [durations.write(each.span)] if each.span is not None else []
        own += [f"{title_of(each.name)}: {', '.join(limits)}"] if limits else []
    return "; ".join(own)


def _described(page: BaseAdmin, alert: Alert, request: HttpRequest) -> dict[str, Any]:
    end = alert.ended_at
    return {
        "alert": alert,
        "text": _text(page, request, alert),
        "badge": badge(alert.state),
        "since": when(alert.since, now_of(request)),
        "lasted": span((end or now()) - alert.since),
    }


def _messages_url(page: BaseAdmin, rule: AlertRule) -> str:
    return address_on(page.admin_site, "reminders_alertmessage_changelist", rule__id__exact=rule.pk)
