"""Tokens in the database: hashed, good for their scopes only, refused soon after they were revoked."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from durable_objects.http import scopes, tokens
from durable_objects.http.models import ApiToken
from durable_objects.tables import Object
from tests.support import http_settings

pytestmark = pytest.mark.django_db

REMINDER = {"message": "m", "fire_at": "2030-01-31T09:00:00+01:00"}


@pytest.fixture(autouse=True)
def _no_token_by_settings(settings: Settings) -> None:
    http_settings.change(settings, TOKENS=[])


def made(*scopes: str, **more: Any) -> tuple[ApiToken, dict[str, str]]:
    """A token with these scopes, and the header that sends it."""
    row = ApiToken(name="of the tests", scopes=list(scopes), **more)
    return row, {"Authorization": f"Bearer {row.issue()}"}


def status(method: str, path: str, headers: dict[str, str]) -> int:
    """The status of a request by a client of its own."""
    body = {} if method == "GET" else {"data": REMINDER, "content_type": "application/json"}
    return int(getattr(Client(), method.lower())(path, headers=headers, **body).status_code)


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("batcher:read", "GET", "/batcher/a"),
        ("batcher:write", "POST", "/batcher/a"),
        ("batcher:write", "DELETE", "/batcher/a/alarm"),
        ("reminders:read", "GET", "/reminders/a"),
        ("reminders:write", "PUT", "/reminders/a"),
        ("reminders:write", "DELETE", "/reminders/a"),
        ("reminders:write", "POST", "/reminders/a/snooze"),
        ("metrics:read", "GET", "/metrics"),
    ],
)
def test_a_token_opens_its_scopes_only(scope: str, method: str, path: str) -> None:
    """Each route asks for one scope: a token that has all others is refused for lack of it, and changes nothing."""
    _, others = made(*(set(scopes.known()) - {scope}))
    response = getattr(Client(), method.lower())(path, headers=others)
    assert response.status_code == 403
    assert (response.json()["error"]["code"], scope in response.json()["error"]["message"]) == ("forbidden", True)
    assert not Object.objects.exists()
    _, headers = made(scope)
    assert status(method, path, headers) in (200, 422)


def test_a_token_for_some_names() -> None:
    """A token with a name prefix opens objects whose names begin so, and nothing that is about no one object."""
    _, headers = made("batcher:read", "metrics:read", name_prefix="team-a/")
    seen = {path: status("GET", path, headers) for path in ("/batcher/team-a", "/batcher/TEAM-A%2F", "/metrics")}
    assert seen == {"/batcher/team-a": 403, "/batcher/TEAM-A%2F": 404, "/metrics": 403}
    _, headers = made("batcher:read", name_prefix="team-a:")
    assert status("GET", "/batcher/team-a:x", headers) == 200
    assert status("GET", "/batcher/team-b:x", headers) == 403


@pytest.mark.parametrize(
    ("bounds", "reminder", "expected"),
    [
        ({}, {"person": "victim", "channels": ["email", "webhook"]}, 200),
        ({"name_prefix": "team-a:"}, {}, 200),
        ({"name_prefix": "team-a:"}, {"person": "team-a:ada", "channels": ["log"]}, 200),
        ({"name_prefix": "team-a:"}, {"person": "victim"}, 403),
        ({"name_prefix": "team-a:"}, {"person": "Team-A:ada"}, 403),
        ({"name_prefix": "team-a:"}, {"person": "team-a"}, 403),
        ({"name_prefix": "team-a:"}, {"channels": ["email"]}, 403),
        ({"name_prefix": "team-a:"}, {"person": "team-a:ada", "channels": ["log", "webhook"]}, 403),
        (
            {"name_prefix": "team-a:", "channels": ["email"]},
            {"person": "team-a:ada", "channels": ["log", "email"]},
            200,
        ),
        ({"name_prefix": "team-a:", "channels": ["email"]}, {"channels": ["webhook"]}, 403),
        ({"channels": ["email"]}, {"person": "victim", "channels": ["email"]}, 200),
        ({"channels": ["email"]}, {"person": "victim", "channels": ["webhook"]}, 403),
        ({"channels": ["email"]}, {"person": "victim"}, 200),
    ],
)
def test_whom_a_token_reaches(bounds: dict[str, Any], reminder: dict[str, Any], expected: int) -> None:
    """A name prefix binds persons as it binds objects, and leaves the site's default channels but for those that are
    named; a refusal says what is allowed, and sets nothing.
    """
    _, headers = made("reminders:write", **bounds)
    answer = Client().put("/reminders/team-a:x", REMINDER | reminder, headers=headers, content_type="application/json")
    assert answer.status_code == expected
    assert Object.objects.exists() == (expected == 200)
    if expected == 403:
        error = answer.json()["error"]
        assert error["code"] == "forbidden"
        assert "this token is limited to some" in error["message"]
        assert error["allowed"]


def test_only_the_hash_is_kept() -> None:
    """No column holds the token, nor more of it than is shown."""
    row, headers = made("batcher:read")
    token = headers["Authorization"].removeprefix("Bearer ")
    row.refresh_from_db()
    kept = " ".join(str(getattr(row, field.name)) for field in ApiToken._meta.fields)
    assert len(token) >= 43
    assert token[len(row.prefix) :] not in kept
    assert status("GET", "/batcher/a", {"Authorization": f"Bearer {row.digest}"}) == 401
    assert status("GET", "/batcher/a", {"Authorization": f"Bearer {row.prefix}"}) == 401


def test_revoked_is_refused_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process trusts what it read for ``TRUSTED_FOR`` seconds at most; then a revoked token is refused."""
    row, headers = made("batcher:read")
    assert status("GET", "/batcher/a", headers) == 200
    assert row.revoke() is True
    assert row.revoke() is False
    assert status("GET", "/batcher/a", headers) == 200
    monkeypatch.setattr(tokens, "TRUSTED_FOR", 0.0)
    assert status("GET", "/batcher/a", headers) == 401
    monkeypatch.undo()
    assert status("GET", "/batcher/a", headers) == 401


def test_an_expired_token_is_refused_at_once() -> None:
    """The end of a token holds though this process trusts it still; afterwards too."""
    row, headers = made("batcher:read", expires_at=timezone.now() + timedelta(hours=1))
    assert status("GET", "/batcher/a", headers) == 200
    (digest,) = tokens._trusted
    principal, asked = tokens._trusted[digest]
    tokens._trusted[digest] = (tokens.Principal(principal.id, principal.scopes, expires_at=timezone.now()), asked)
    assert status("GET", "/batcher/a", headers) == 401
    ApiToken.objects.update(expires_at=timezone.now())
    tokens.forget()
    assert status("GET", "/batcher/a", headers) == 401
    row.refresh_from_db()
    assert row.state == "expired"


def test_a_known_token_costs_no_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """The first request looks the token up and notes its use; those of the next seconds ask nothing."""
    _, headers = made("batcher:read")
    with django_assert_num_queries(2):
        assert tokens.authenticate(headers["Authorization"])
    with django_assert_num_queries(0):
        assert tokens.authenticate(headers["Authorization"])


def test_the_last_use_is_written_at_most_once_a_minute() -> None:
    """Uses within a minute are one write."""
    row, headers = made("batcher:read")
    written = []
    for ago in (None, timedelta(seconds=50), timedelta(seconds=70)):
        used = None if ago is None else timezone.now() - ago
        ApiToken.objects.update(last_used_at=used)
        tokens.forget()
        assert tokens.authenticate(headers["Authorization"])
        row.refresh_from_db()
        written.append(row.last_used_at != used)
    assert written == [True, False, True]


def test_what_was_sent_is_never_logged(caplog: pytest.LogCaptureFixture, settings: Settings) -> None:
    """No log line holds a token, a good one or a bad one; nor does any statement hold more than its hash."""
    settings.DEBUG = True
    _, headers = made("batcher:read")
    sent = [headers["Authorization"].removeprefix("Bearer "), "a-wrong-token-somebody-sent"]
    with caplog.at_level(logging.DEBUG), CaptureQueriesContext(connection) as asked:
        for token in sent:
            status("GET", "/batcher/a", {"Authorization": f"Bearer {token}"})
            status("PUT", "/batcher/a", {"Authorization": f"Digest {token}"})
            status("GET", "/batcher/a", {"Authorization": f"Basic {token}"})
    seen = caplog.text + "".join(query["sql"] for query in asked.captured_queries)
    assert seen
    assert [token for token in sent if token in seen] == []


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"scopes": []}, "none is given"),
        ({"scopes": ["batcher:read", "everything"]}, "unknown: everything"),
        ({"name": ""}, "name"),
        ({"channels": ["pigeon"]}, "unknown: pigeon. Allowed: email, log"),
        ({"expires_at": timezone.now()}, "is past"),
    ],
)
def test_what_no_token_can_be(wrong: dict[str, Any], problem: str) -> None:
    """A token without scopes, with one that there is not, without a name, or that is over, is not made."""
    with pytest.raises(ValidationError, match=problem):
        ApiToken(**{"name": "n", "scopes": ["batcher:read"]} | wrong).issue()
    assert not ApiToken.objects.exists()


def test_while_the_database_is_away(client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that cannot be looked up is no unknown one: come again. Those of the settings are let in as ever."""

    def away(digest: str) -> None:
        raise OperationalError("no connection")

    monkeypatch.setattr(tokens, "_look_up", away)
    response = client.get("/batcher/a", headers={"Authorization": "Bearer of-somebody"})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "database_away")
    http_settings.change(settings, TOKENS=["of-the-settings"])
    assert status("GET", "/batcher/a", {"Authorization": "Bearer of-the-settings"}) == 200
