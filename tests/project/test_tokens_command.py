"""``manage.py tokens``, as its operator meets it."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from durable_objects.http import tokens
from durable_objects.http.models import ApiToken

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> list[Any]:
    """What the command prints with ``--json``, line by line."""
    return [json.loads(line) for line in printed(*arguments, "--json").splitlines()]


def printed(*arguments: str) -> str:
    """What the command prints."""
    out = StringIO()
    call_command("tokens", *arguments, stdout=out)
    return out.getvalue()


def test_bounds_are_made_and_listed() -> None:
    """Names and channels that a token is limited to are in the list."""
    printed("create", "team a", "--scope", "reminders:write", "--names", "team-a:", "--channel", "email")
    (listed,) = run("list")
    assert (listed["name_prefix"], listed["channels"]) == ("team-a:", ["email"])
    assert "  reminders:write  team-a:…  email  never" in printed("list")


def test_made_listed_and_revoked() -> None:
    """A made token opens what it says, is listed without itself, and opens nothing once it is revoked."""
    (made,) = run("create", "the shop", "--scope", "batcher:write", "--scope", "batcher:read", "--expires", "90d")
    principal = tokens.authenticate(f"Bearer {made['token']}")
    assert principal is not None
    assert principal.scopes == {"batcher:write", "batcher:read"}
    assert timedelta(days=89) < ApiToken.objects.get().expires_at - timezone.now() < timedelta(days=90)  # type: ignore[operator]  # it was set
    (listed,) = run("list")
    assert (listed["prefix"], listed["state"]) == (made["prefix"], "valid")
    assert made["token"] not in printed("list") + json.dumps(listed)
    assert run("revoke", made["prefix"]) == [{"revoked": True, "prefix": made["prefix"]}]
    assert tokens.authenticate(f"Bearer {made['token']}") is None
    assert (run("list", "--valid"), len(run("list"))) == ([], 1)
    assert "before" in printed("revoke", made["prefix"])


EXPIRES = r"^--expires is {}. Allowed: an ISO 8601 time with its offset, such as 2030-01-31T09:00[+]01:00, or 90d, 12h"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["create", "a", "--scope", "everything"], "unknown: everything. Allowed: batcher:read"),
        (["create", "a", "--scope", "batcher:read", "--expires", "soon"], "'soon'"),
        (["create", "a", "--scope", "batcher:read", "--expires", "1y"], EXPIRES.format("'1y'")),
        (["create", "a", "--scope", "batcher:read", "--expires", "2031-01-01"], "without an offset. Allowed: an ISO"),
        (
            ["create", "a", "--scope", "batcher:read", "--expires", "9999-12-31T23:59:59-12:00"],
            EXPIRES.format("'9999-12-31T23:59:59-12:00'"),
        ),
        (
            ["create", "a", "--scope", "batcher:read", "--expires", "0001-01-01T00:00:00+14:00"],
            EXPIRES.format("'0001-01-01T00:00:00[+]14:00'"),
        ),
        (["create", "a", "--scope", "batcher:read", "--expires", "2001-01-01T00:00:00Z"], "is past"),
        (["revoke", "do_nobody"], "tokens list"),
    ],
)
def test_wrong_arguments_are_told(arguments: list[str], problem: str) -> None:
    """What cannot be done is refused in a line that says what is allowed."""
    with pytest.raises(CommandError, match=problem):
        printed(*arguments)
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize("when", ["30m", "2999-01-01T00:00+02:00"])
def test_an_end_without_time_zones(settings: Any, when: str) -> None:
    """With ``USE_TZ = False`` the end of a token is kept in the zone of the project, and found by the same clock."""
    settings.USE_TZ, settings.TIME_ZONE = False, "Asia/Kolkata"
    printed("create", "team a", "--scope", "metrics:read", "--expires", when)
    row = ApiToken.objects.get()
    assert row.state == "valid"
    assert row.expires_at is not None
    assert when == "30m" or row.expires_at.isoformat() == "2999-01-01T03:30:00"
