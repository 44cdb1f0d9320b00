"""Tokens in Django admin: shown once, never again, revoked after a question, logged."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from durable_objects.http import tokens
from durable_objects.http.models import ApiToken
from tests.support.admin_pages import choose, confirm, list_url, page_url, staff, text_of

pytestmark = pytest.mark.django_db

NEW = {"name": "the shop", "scopes": ["batcher:read", "batcher:write"], "name_prefix": "", "expires_at_0": ""}
ADD = "/admin/durable_objects_http/apitoken/add/"


def make(client: Client) -> tuple[ApiToken, str]:
    """Make a token by the form; the row, and the token as the page tells it."""
    page = client.post(ADD, NEW | {"expires_at_1": ""})
    assert page.status_code == 200
    assert "no-store" in page["Cache-Control"]
    shown = re.search(r'<code id="token" data-copy>([^<]*)</code>', page.content.decode())
    assert shown is not None
    return ApiToken.objects.get(), html.unescape(shown[1])


def test_a_token_is_told_once(admin_client: Client) -> None:
    """The page after the form tells a token that works; no other page, message or log entry does, nor the hash."""
    assert admin_client.get(ADD).content.decode().count('type="checkbox" name="scopes"') == 5
    row, token = make(admin_client)
    assert tokens.authenticate(f"Bearer {token}") is not None
    pages = [text_of(admin_client, url) for url in (list_url(ApiToken), page_url(ApiToken, row.pk), "/admin/")]
    pages += [entry.object_repr + entry.get_change_message() for entry in LogEntry.objects.all()]
    assert row.prefix in pages[0]
    assert [page for page in pages if token in page or row.digest in page] == []
    assert LogEntry.objects.count() == 1


def test_bounds_are_set_by_the_form(admin_client: Client) -> None:
    """Names and channels that a token is limited to are entered with it, and shown on its page."""
    bounds = {"name_prefix": "team-a:", "channels": ["email", "log"], "expires_at_1": ""}
    assert admin_client.post(ADD, NEW | bounds).status_code == 200
    row = ApiToken.objects.get()
    assert (row.name_prefix, row.channels) == ("team-a:", ["email", "log"])
    assert "team-a:" in text_of(admin_client, page_url(ApiToken, row.pk))


def test_nothing_of_a_token_can_be_changed(admin_client: Client) -> None:
    """The page of a token is for reading: it has no field, and takes none."""
    row, _ = make(admin_client)
    assert 'name="scopes"' not in admin_client.get(page_url(ApiToken, row.pk)).content.decode()
    assert admin_client.post(page_url(ApiToken, row.pk), NEW | {"name": "x", "digest": "0" * 64}).status_code == 403
    assert ApiToken.objects.get().digest == row.digest


def test_revoking_asks_and_is_logged(admin_client: Client) -> None:
    """Nothing is revoked before the question is answered; then it is at once, with a log entry."""
    row, token = make(admin_client)
    assert tokens.authenticate(f"Bearer {token}") is not None
    question: Any = choose(admin_client, ApiToken, "revoke", [row.pk])
    assert "Revoke these tokens?" in question.content.decode()
    assert ApiToken.objects.get().state == "valid"
    assert "within 5 s" in confirm(admin_client, ApiToken, "revoke", [row.pk])[0]
    assert (ApiToken.objects.get().state, tokens.authenticate(f"Bearer {token}")) == ("revoked", None)
    assert LogEntry.objects.filter(object_id=str(row.pk), change_message="Revoked.").count() == 1
    assert "before" in confirm(admin_client, ApiToken, "revoke", [row.pk])[0]


def test_who_may_not(admin_client: Client) -> None:
    """Making and revoking are permissions of their own: who may only look is offered neither."""
    row, _ = make(admin_client)
    looking = staff(["durable_objects_http.view_apitoken"])
    assert looking.get(ADD).status_code == 403
    assert "Revoke" not in text_of(looking, list_url(ApiToken))
    choose(looking, ApiToken, "revoke", [row.pk], confirmed="yes")
    assert ApiToken.objects.get().state == "valid"
    assert staff([], "stranger").get(list_url(ApiToken)).status_code == 403
