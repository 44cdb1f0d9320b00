"""The tokens of the HTTP interface in Django admin: made, and shown once; listed, revoked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import models
from django.forms.widgets import Script
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from durable_objects.admin import BaseAdmin, ChangesForm, badge, moment
from durable_objects.formatting import absolute
from durable_objects.http import scopes, tokens
from durable_objects.http.models import ApiToken

#: Tokens that one confirmation covers.
AT_MOST = 500


def at(name: str, title: str) -> Callable[[ApiToken], str]:
    """Return a column that shows a moment of the token with its zone, or "never"."""

    @admin.display(description=title, ordering=name)
    def shown(row: ApiToken) -> str:
        return written(getattr(row, name))

    shown.__name__ = name
    return shown


def written(value: datetime | None) -> str:
    """Write a moment with its zone; "never" for none."""
    return "never" if value is None else absolute(value)


class NewTokenForm(ChangesForm):
    """A new token: its scopes as check boxes."""

    scopes = forms.MultipleChoiceField(
        choices=lambda: [(scope, f"{scope}: {meaning}") for scope, meaning in scopes.known().items()],
        widget=forms.CheckboxSelectMultiple(attrs={"class": "radiolist"}),  # admin's style for one choice a line
    )
    channels = forms.MultipleChoiceField(
        choices=lambda: [(name, name) for name in scopes.channels()],
        required=False,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "radiolist"}),
        help_text=ApiToken._meta.get_field("channels").help_text,
    )


@admin.register(ApiToken)
class ApiTokenAdmin(BaseAdmin):
    """What a token opens, who has it, when it was used. Nobody sees its hash, and nothing of it can be changed."""

    form = NewTokenForm
    fields = ("name", "scopes", "name_prefix", "channels", "expires_at")
    list_display: Any = (
        "name", "how_it_stands", "begins", "opens", "name_prefix",
        at("last_used_at", "last used"), at("expires_at", "expires"), at("created_at", "created"),
    )  # fmt: skip
    search_fields = ("name", "prefix")
    actions = ("revoke",)

    class Media:
        css: ClassVar[Any] = {"all": ["durable_objects/admin.css"]}
        js = (Script("durable_objects/copy.js", defer=True),)

    def get_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> Any:
        if obj is None:
            return self.fields
        return (
            "name",
            "begins",
            "how_it_stands",
            "opens",
            "name_prefix",
            "channels",
            *map(moment, ["created_at", "expires_at", "last_used_at", "revoked_at"]),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> Any:
        return () if obj is None else self.get_fields(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return super().has_view_permission(request, obj) or self.has_revoke_permission(request)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Allow whoever may change tokens to revoke them."""
        return bool(request.user.has_perm("durable_objects_http.change_apitoken"))

    @admin.display(description="begins with", ordering="prefix")
    def begins(self, row: ApiToken) -> str:
        """Return the beginning by which a token is recognised."""
        return f"{row.prefix}…"

    @admin.display(description="state")
    def how_it_stands(self, row: ApiToken) -> SafeString:
        """Show the state in the colour of its meaning."""
        return badge(row.state)

    @admin.display(description="opens")
    def opens(self, row: ApiToken) -> str:
        """Return the scopes in a line."""
        return ", ".join(row.scopes)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Offer one way to save: the next page is the token's, whatever comes after it."""
        only_save = {"show_save_and_continue": False, "show_save_and_add_another": False}
        return super().add_view(request, form_url, (extra_context or {}) | only_save)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Offer to revoke a token that was not."""
        row = context.get("original")
        context["may_revoke"] = row is not None and row.revoked_at is None and self.has_revoke_permission(request)
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        """Make the token; the answer to this very request shows it."""
        setattr(request, "_token_shown_once", obj.issue())

    def response_add(self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None) -> HttpResponse:
        """Show the token on a page of its own (no page of admin is cached): neither a message nor the log ever
        has it.
        """
        context = {
            **self.admin_site.each_context(request),
            "title": f"Token for {obj.name}",
            "opts": self.opts,
            "row": obj,
            "token": request.__dict__.pop("_token_shown_once"),
            "media": self.media,
            "expires": written(obj.expires_at),
            "seconds": tokens.TRUSTED_FOR,
        }
        return TemplateResponse(request, "admin/durable_objects_http/apitoken/made.html", context)

    @admin.action(description="Revoke", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: models.QuerySet[ApiToken]) -> HttpResponse:
        """Ask first, then revoke, each one logged."""
        rows = list(queryset.filter(revoked_at=None)[:AT_MOST])
        from_page = request.POST.get("from_page") == "yes"
        name = f"{self.admin_site.name}:durable_objects_http_apitoken"
        back = list_url = reverse(f"{name}_changelist")
        if from_page and rows:
            back = reverse(f"{name}_change", args=[rows[0].pk])
        if rows and request.POST.get("confirmed") != "yes":
            context = {
                **self.admin_site.each_context(request),
                "title": "Revoke",
                "opts": self.opts,
                "media": self.media,
                "rows": [(row, written(row.last_used_at)) for row in rows],
                "checkbox": ACTION_CHECKBOX_NAME,
                "from_page": from_page,
                "list_url": list_url,
                "back": back,
            }
            return TemplateResponse(request, "admin/durable_objects_http/apitoken/revoke.html", context)
        user: Any = request.user
        revoked = [row for row in rows if row.revoke()]
        tokens.forget()
        LogEntry.objects.log_actions(user.pk, revoked, CHANGE, change_message="Revoked.")
        if revoked:
            seconds = f"refused everywhere within {tokens.TRUSTED_FOR:.0f} s"
            self.message_user(request, f"Revoked, {seconds}: {', '.join(map(str, revoked))}.", messages.SUCCESS)
        else:
            self.message_user(request, "All selected tokens were revoked before.", messages.WARNING)
        return HttpResponseRedirect(back)
