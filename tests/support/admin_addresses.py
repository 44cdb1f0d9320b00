"""Every address of admin, and what a browser would send there to change something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.urls.converters import IntConverter

from tests.support.admin_pages import form_of, list_url, page_url

Rows = dict[type[Model], Any]

#: Tables in which requests leave traces of their own: who is logged in, and what was counted to slow down guessing.
OWN_TRACES = {"django_session", "auth_user", "django_content_type", "auth_permission", "django_migrations"}


@dataclass(frozen=True)
class Post:
    """A request that would change something."""

    url: str
    data: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.url} {self.data.get('action', 'filled in') if self.data else 'empty'}"


def addresses(rows: Rows) -> list[str]:
    """Every address: of the site itself, and of each registered class, with its row where one is named."""
    kind = ContentType.objects.get_for_model(next(iter(rows)))
    site = ["index", "password_change", "password_change_done", "autocomplete", "jsi18n", "login"]
    urls = [reverse(f"admin:{name}") for name in site] + ["/admin/nothing/", "/admin/nothing/at/all/"]
    urls.append(reverse("admin:view_on_site", args=[kind.pk, next(iter(rows.values())).pk]))
    for model, each in admin.site._registry.items():
        key = quote(rows[model].pk)
        urls += [reverse("admin:app_list", args=[model._meta.app_label]), f"{list_url(model)}{key}/"]
        for pattern in each.urls:
            if pattern.name:
                asked = pattern.pattern.converters.items()
                places = [0 if isinstance(how, IntConverter) and what != "pk" else key for what, how in asked]
                urls.append(reverse(f"admin:{pattern.name}", args=places))
    return list(dict.fromkeys(urls))


def shown(client: Client, rows: Rows) -> list[str]:
    """Every address that answers with a page of its own; of Django's own history and deletion one each will do."""
    urls = addresses(rows)
    by_django = [[url for url in urls if url.endswith(f"/{name}/")][1:] for name in ("history", "delete")]
    return [url for url in urls if not any(url in listed for listed in by_django) and _is_page(client, url)]


def posts(superuser: Client, rows: Rows) -> list[Post]:
    """What changes something if a superuser sends it: forms filled in otherwise, every action answered with yes."""
    sent = [Post(url, {}) for url in addresses(rows)]
    for model, each in admin.site._registry.items():
        row, listed = rows[model], superuser.get(list_url(model))
        for action in each.get_actions(listed.wsgi_request):
            chosen = {"action": action, "_selected_action": [str(row.pk)], "confirmed": "yes", "post": "yes"}
            sent.append(Post(list_url(model), chosen))
        sent.append(Post(page_url(model, quote(row.pk), "delete"), {"post": "yes", "confirmed": "yes"}))
        if each.has_change_permission(listed.wsgi_request, row):
            url = page_url(model, quote(row.pk))
            sent.append(Post(url, _otherwise(form_of(superuser, url))))
        if each.has_add_permission(listed.wsgi_request):
            url = f"{list_url(model)}add/"
            sent.append(Post(url, _otherwise(form_of(superuser, url))))
    items = [url for url in addresses(rows) if url.endswith("/items/")]
    return [*sent, *(Post(url, {"item": "{}"}) for url in items)]


def stored() -> dict[str, list[Any]]:
    """Every row of every table, but for what requests themselves leave behind."""
    with connection.cursor() as cursor:
        tables = [name for name in connection.introspection.table_names(cursor) if name not in OWN_TRACES]
        found = {}
        for table in tables:
            cursor.execute(f'SELECT * FROM "{table}"')
            found[table] = sorted(map(repr, cursor.fetchall()))
        cursor.execute("SELECT id, username, password, is_superuser, is_staff, is_active FROM auth_user")
        return found | {"auth_user": sorted(map(repr, cursor.fetchall()))}


def changed(before: dict[str, list[Any]], after: dict[str, list[Any]]) -> set[str]:
    """The tables that are not as they were."""
    return {table for table in after if after[table] != before.get(table)}


def _is_page(client: Client, url: str) -> bool:
    answer = client.get(url)
    return answer.status_code == 200 and b"<html" in answer.content  # a part of a page is seen on that


def _otherwise(form: dict[str, list[str]]) -> dict[str, Any]:
    """The form as it is, with other texts in every field that is typed into, and what must be there."""
    given: dict[str, Any] = {**form}
    others = {
        "name": "other", "message": "other", "email": "o@example.com", "description": "other", "owner": "other",
        "quiet_hours": "01:00-02:00", "settings-0-max_items": "7", "settings-0-interval": "7h", "every": "9",
        "minute": "9", "latitude": "9", "longitude": "9", "event": "sunset", "username": "other", "period": "days",
        "first_name": "other", "password1": "l0ng-enough", "password2": "l0ng-enough", "usable_password": "true",
        "scopes": ["batcher:read"], "channels": ["log"], "task": "durable_objects.delivery.dispatcher",
        "clocked_time_0": "2031-01-01", "clocked_time_1": "00:00:00", "local_time": "2031-01-01T09:00",
    }  # fmt: skip
    return given | {name: value for name, value in others.items() if name in form}
