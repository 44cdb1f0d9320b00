"""The question before a verb is done to rows, and what leads to it in place of Django's page that deletes."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from durable_objects.admin.verbs import Verb


def ask(
    page: ModelAdmin[Any], request: HttpRequest, verb: Verb, chosen: list[dict[str, Any]], **given: Any
) -> HttpResponse:
    """Return the page with the question of a verb about these rows, each described; its yes is sent to where it was
    asked. ``given`` is what else the page shows, the way back (``back_url``) among it.
    """
    context = {
        **page.admin_site.each_context(request),
        "title": verb.label,
        "opts": page.opts,
        "media": page.media,
        "verb": verb,
        "chosen": chosen,
        "checkbox": ACTION_CHECKBOX_NAME,
        "list_url": list_url_of(page),
        "asked_at": request.path,
        **given,
    }
    request.current_app = page.admin_site.name
    return TemplateResponse(request, "admin/durable_objects/confirm.html", context)


def row_to_delete(page: ModelAdmin[Any], request: HttpRequest, object_id: str) -> Any:
    """Return the row that an address of Django's is to delete. Raises ``Http404`` and ``PermissionDenied``."""
    row = page.get_object(request, unquote(object_id))
    if row is None:
        raise Http404(f"There is no {page.opts.verbose_name} {object_id}.")
    if not page.has_delete_permission(request, row):
        raise PermissionDenied
    return row


def list_url_of(page: ModelAdmin[Any]) -> str:
    """Return the address of the model's list."""
    return reverse(f"{page.admin_site.name}:{page.opts.app_label}_{page.opts.model_name}_changelist")
