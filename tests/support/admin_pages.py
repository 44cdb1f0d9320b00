"""Admin pages in tests: addresses, users with just some permissions, pages as text, verbs as clicks."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs

from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.messages import get_messages
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from durable_objects.tables import Alarm, Entry, Object
from tests.models import Scripted


def list_url(model: type[Model]) -> str:
    """The list of this model's rows."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def page_url(model: type[Model], pk: object, page: str = "change") -> str:
    """A page of one row: ``change``, ``delete`` or ``history``."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=[pk])


def staff(permissions: Iterable[str], name: str = "vic") -> Client:
    """A client logged in as a user of the admin with these permissions: ``tests.view_scripted``."""
    user = User.objects.create_user(name, is_staff=True)
    for permission in permissions:
        app, code = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=code))
    client = Client()
    client.force_login(user)
    return client


def text_of(client: Client, url: str) -> str:
    """What a page says to its reader: without tags, entities resolved, white space made one. The page must be there."""
    response = client.get(url, follow=True)
    assert response.status_code == 200, (url, response.status_code)
    return words_of(response.content.decode())


def words_of(page: str) -> str:
    """What this page says, as ``text_of``."""
    body = page.partition('id="content"')[2] or page  # a part of one
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def choose(client: Client, model: type[Model], verb: str, pks: Iterable[object], **more: str) -> Any:
    """Choose rows and a verb in a list; answers the question, or what came back instead."""
    data = {"action": verb, "_selected_action": [str(pk) for pk in pks], **more}
    return client.post(list_url(model), data)


def confirm(client: Client, model: type[Model], verb: str, pks: Iterable[object], **more: str) -> list[str]:
    """Say yes to the question; answers the messages that came of it."""
    client.cookies.pop("messages", None)  # of an earlier answer, which nobody has read
    response = choose(client, model, verb, pks, confirmed="yes", **more)
    assert response.status_code == 302, response.content.decode()[-2000:]
    return [str(message) for message in get_messages(response.wsgi_request)]


def park(name: str = "lost", **alarm: Any) -> Object:
    """An object of a class that this code does not have, with an entry, and an alarm if its fields are given."""
    kind, _ = ContentType.objects.get_or_create(app_label="ghost", model="phantom")
    row = Object.objects.create(kind=kind, name=name)
    Entry.objects.create(object=row, key="k", value="1")
    if alarm:
        Alarm.objects.create(object=row, kind_id=row.kind_id, **alarm)
    return row


def fail(obj: Scripted, info: object) -> None:
    """Fail with a message that would be markup."""
    raise ValueError("refused by <b>upstream</b>\nsecond line")


def scripted(name: str, after: timedelta | None = None) -> Scripted:
    """An object that is there, with an alarm after this time if one is given."""
    obj = Scripted.objects.get_by_name(name)
    obj.save()
    if after is not None:
        obj.storage.set_alarm(after)
    return obj


class _Form(HTMLParser):
    """Reads what a browser would send of the form that Django's admin makes: ``<form id="…_form">``."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, list[str]] = {}
        self._within = False
        self._select: tuple[str, bool] | None = None
        self._options: list[tuple[str, bool]] = []
        self._text: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._within = given.get("id", "").endswith("_form")
        if not self._within or "form" in given:
            return
        name, kind = given.get("name", ""), given.get("type", "text")
        if tag == "input" and name and kind not in {"submit", "button", "file", "image"}:
            if kind not in {"checkbox", "radio"} or "checked" in given:
                self._add(name, given.get("value", "on" if kind == "checkbox" else ""))
        elif tag == "textarea":
            self._text = name
            self._add(name, "")
        elif tag == "select":
            self._select, self._options = (name, "multiple" in given), []
        elif tag == "option":
            self._options.append((given.get("value", ""), "selected" in given))

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self.fields[self._text][-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._within = False
        elif tag == "textarea" and self._text is not None:
            self.fields[self._text][-1] = self.fields[self._text][-1].removeprefix("\n")
            self._text = None
        elif tag == "select" and self._select is not None:
            name, is_multiple = self._select
            chosen = [value for value, is_chosen in self._options if is_chosen]
            for value in chosen or ([] if is_multiple else [value for value, _ in self._options[:1]]):
                self._add(name, value)
            self._select = None

    def _add(self, name: str, value: str) -> None:
        self.fields.setdefault(name, []).append(value)


def form_of(client: Client, url: str, sent: Mapping[str, Any] | None = None) -> dict[str, list[str]]:
    """What a browser would send of this page, untouched: as it opened, or as it came back when this was sent."""
    form = _Form()
    response = client.get(url) if sent is None else client.post(url, sent)
    form.feed(response.content.decode())
    assert form.fields, f"{url} has no form"
    return form.fields


def shape_of(url: str) -> tuple[str, frozenset[str]]:
    """An address without what it is asked for: its path, and by which words it is asked."""
    return path_of(url), frozenset(parse_qs(url.partition("?")[2]))


def path_of(url: str) -> str:
    """An address without what it is asked."""
    return url.partition("?")[0]
