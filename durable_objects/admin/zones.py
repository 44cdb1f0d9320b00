"""The zone in which a user of the admin reads and writes times: their own, kept in a cookie."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme

from durable_objects.admin.forms import LongSelect
from durable_objects.recurrence.zones import find_zone, zone_names

COOKIE = "durable_objects_zone"
KEPT_FOR = timedelta(days=365)


class OperatorZone:
    """Middleware that shows admin's pages, and no others, in the zone of the user's cookie.

    Without the cookie, or where this machine has no such zone, they are in the site's ``TIME_ZONE``.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        setattr(request, "may_choose_zone", True)  # pages link the choice only where it has an effect
        with timezone.override(None):
            return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        """Set the zone for a page of an admin site."""
        match = request.resolver_match
        zone = find_zone(request.COOKIES.get(COOKIE, ""))
        if zone is not None and match is not None and "admin" in match.app_names:
            timezone.activate(zone)


class ZoneForm(forms.Form):
    """A choice of all zones that this machine knows."""

    zone = forms.ChoiceField(label="Times are shown in", required=False, widget=LongSelect)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["zone"]
        field.choices = [("", f"the site's zone, {settings.TIME_ZONE}"), *((name, name) for name in zone_names())]


def choose_zone(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Ask for the zone; then keep it in the cookie, and go back to where the user came from."""
    came_from = request.POST.get("next") or request.GET.get("next") or ""
    if not url_has_allowed_host_and_scheme(came_from, {request.get_host()}, require_https=request.is_secure()):
        came_from = reverse(f"{site.name}:index")
    form = ZoneForm(request.POST) if request.method == "POST" else ZoneForm({"zone": request.COOKIES.get(COOKIE, "")})
    if request.method == "POST" and form.is_valid():
        answer = HttpResponseRedirect(came_from)
        zone, path = form.cleaned_data["zone"], reverse(f"{site.name}:index")
        if zone:
            answer.set_cookie(
                COOKIE, zone, KEPT_FOR, path=path, httponly=True, samesite="Lax", secure=settings.SESSION_COOKIE_SECURE
            )
        else:
            answer.delete_cookie(COOKIE, path=path, samesite="Lax")
        messages.success(request, f"Times are shown in {zone or settings.TIME_ZONE}.")
        return answer
    request.current_app = site.name
    context = {**site.each_context(request), "title": "Time zone", "form": form, "next": came_from}
    return TemplateResponse(request, "admin/durable_objects/zone.html", context)
