"""The pages of API tokens: what they say where there is none, in which zone times are, and revoking from the page."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.contrib.messages import get_messages
from django.test import Client

from durable_objects.http.models import ApiToken
from tests.support.admin_pages import choose, confirm, list_url, page_url, staff, text_of

pytestmark = pytest.mark.django_db


def made(**fields: object) -> ApiToken:
    """A token that opens the metrics."""
    row = ApiToken(name="shop", scopes=["metrics:read"], **fields)
    row.issue()
    return row


def test_a_list_of_none_says_what_to_do(admin_client: Client) -> None:
    """Where no token was made the page says who needs one and how it is made; once there is one it says so no more."""
    assert "No token was made here yet." in text_of(admin_client, list_url(ApiToken))
    made()
    for query in ("", "?q=nothing"):
        assert "No token was made" not in text_of(admin_client, list_url(ApiToken) + query)


def test_times_carry_their_zone(admin_client: Client) -> None:
    """List, page and question write each moment with its zone, and "never" where there is none."""
    row = made()
    ApiToken.objects.update(last_used_at=datetime(2026, 11, 25, 21, 25, tzinfo=UTC))
    assert "2026-11-25 21:25:00 UTC never" in text_of(admin_client, list_url(ApiToken))
    assert "Last used at: 2026-11-25 21:25:00.000 UTC" in text_of(admin_client, page_url(ApiToken, row.pk))
    question = choose(admin_client, ApiToken, "revoke", [row.pk]).content.decode()
    assert "last used 2026-11-25 21:25:00 UTC" in question


def test_a_token_is_revoked_from_its_page(admin_client: Client) -> None:
    """The page has the button, and is where one is after it; a token that was revoked has none."""
    row = made()
    assert "Revoke…" in text_of(admin_client, page_url(ApiToken, row.pk))
    response = choose(admin_client, ApiToken, "revoke", [row.pk], confirmed="yes", from_page="yes")
    assert response.headers["Location"] == page_url(ApiToken, row.pk)
    assert "Revoked, refused everywhere" in str(next(iter(get_messages(response.wsgi_request))))
    assert "Revoke…" not in text_of(admin_client, page_url(ApiToken, row.pk))
    assert confirm(admin_client, ApiToken, "revoke", [row.pk]) == ["All selected tokens were revoked before."]


def test_revoking_looks_final(admin_client: Client) -> None:
    """What cannot be undone has the button of it, on the page and in the question; the state has its colour."""
    row = made()
    for page in (admin_client.get(page_url(ApiToken, row.pk)), choose(admin_client, ApiToken, "revoke", [row.pk])):
        assert "do-danger" in page.content.decode()
    assert "do-valid" in admin_client.get(list_url(ApiToken)).content.decode()
    row.revoke()
    assert "do-revoked" in admin_client.get(list_url(ApiToken)).content.decode()


def test_who_may_only_view_cannot_revoke(admin_client: Client) -> None:
    """The button is for those who may change tokens."""
    row = made()
    viewer = staff(["durable_objects_http.view_apitoken"])
    assert "Revoke…" not in text_of(viewer, page_url(ApiToken, row.pk))
