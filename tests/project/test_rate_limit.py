"""How often one may ask: ``429 too_many_requests`` with Retry-After, by token, and by address for unknown tokens."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from durable_objects.http import rate_limit
from durable_objects.http.models import ApiToken
from durable_objects.http.rate_limit import Limiter, Rate, rate_of
from project import settings as project_settings
from project.environment import Environment
from tests.support import http_settings

pytestmark = pytest.mark.django_db

TOKEN, OTHER = "a-token-of-the-tests", "another-token-of-the-tests"


@pytest.fixture(autouse=True)
def _tokens(settings: Settings) -> None:
    http_settings.change(settings, TOKENS=[TOKEN, OTHER])


def ask(token: str, address: str = "10.0.0.1", **more: Any) -> Any:
    """The answer to a request with this token from this address."""
    return Client(REMOTE_ADDR=address).get("/batcher/a", headers={"Authorization": f"Bearer {token}"}, **more)


def test_a_token_that_asks_too_often(client: Client, settings: Settings) -> None:
    """Above RATE a token learns when to come again, by another code than a full batcher's; others go on."""
    http_settings.change(settings, RATE="3/m")
    assert [ask(TOKEN).status_code for _ in range(4)] == [200, 200, 200, 429]
    response = ask(TOKEN)
    assert response.json()["error"]["code"] == "too_many_requests"
    assert 1 <= int(response["Retry-After"]) <= 20
    assert ask(OTHER).status_code == 200
    assert client.get("/health").status_code == 200


def test_an_address_that_guesses(settings: Settings, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """After too many unknown tokens an address is refused before anything is looked up; known tokens are not."""
    http_settings.change(settings, FAILURE_RATE="2/m")
    assert [ask(f"guess {number}").status_code for number in range(4)] == [401, 401, 429, 429]
    with django_assert_num_queries(0):
        assert ask("guess again")["Retry-After"]
    assert ask(TOKEN).status_code == 200
    assert ask("guess", address="10.0.0.2").status_code == 401


def test_a_known_token_is_not_held_up_by_its_neighbours(settings: Settings) -> None:
    """A token of the database that this process knows passes though its address has guessed too often."""
    http_settings.change(settings, FAILURE_RATE="1/m")
    row = ApiToken(name="n", scopes=["batcher:read"])
    token = row.issue()
    assert ask(token).status_code == 200
    assert [ask("guess").status_code for _ in range(2)] == [401, 429]
    assert ask(token).status_code == 200


def test_requests_without_a_token_are_no_guesses(client: Client, settings: Settings) -> None:
    """A request without any token gets 401 each time: nothing is looked up for it."""
    http_settings.change(settings, FAILURE_RATE="1/m")
    assert [client.get("/batcher/a").status_code for _ in range(3)] == [401, 401, 401]


@pytest.mark.parametrize(("trusted", "expected"), [(None, 429), (("HTTP_X_FORWARDED_PROTO", "https"), 401)])
def test_the_address_behind_a_proxy(settings: Settings, trusted: tuple[str, str] | None, expected: int) -> None:
    """Only a proxy that is trusted is believed about addresses, and of what it forwards only its own last word."""
    http_settings.change(settings, FAILURE_RATE="1/m")
    settings.SECURE_PROXY_SSL_HEADER = trusted
    ask("guess", HTTP_X_FORWARDED_FOR="10.9.9.9, 10.0.0.7")
    assert ask("guess", HTTP_X_FORWARDED_FOR="10.9.9.9, 10.0.0.8").status_code == expected
    assert ask("guess", HTTP_X_FORWARDED_FOR="10.1.1.1, 10.0.0.7").status_code == 429


@pytest.mark.parametrize(
    "addresses", [["2001:db8::1", "2001:db8::2", "2001:db8::f:3"], ["::ffff:10.0.0.9", "10.0.0.9"] * 2]
)
def test_one_network_has_one_bucket(settings: Settings, addresses: list[str]) -> None:
    """Other addresses of the same /64 guess on the same account; an IPv4 address is itself in whichever form."""
    http_settings.change(settings, FAILURE_RATE="2/m")
    assert [ask("guess", address=address).status_code for address in addresses[:3]] == [401, 401, 429]


def test_turns_come_back_as_time_goes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket of 6 per minute gives 6 at once and then one every 10 s, never more than 6."""
    now = 1000.0
    monkeypatch.setattr("durable_objects.http.rate_limit.time.monotonic", lambda: now)
    limiter, six = Limiter(), Rate(6, 60)
    assert [limiter.take("a", six) for _ in range(7)] == [0] * 6 + [10]
    now += 9
    assert limiter.take("a", six) == 1
    now += 1
    assert [limiter.take("a", six) for _ in range(2)] == [0, 10]
    now += 10_000
    assert [limiter.take("a", six) for _ in range(7)] == [0] * 6 + [10]


def test_strangers_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many addresses ask, a bounded number of buckets is kept: those that matter."""
    monkeypatch.setattr(rate_limit, "MOST_BUCKETS", 10)
    limiter, rule = Limiter(), Rate(2, 1e9)
    limiter.take("busy", rule)
    limiter.take("busy", rule)
    for number in range(100):
        limiter.take(f"once {number}", rule)
    assert len(limiter._buckets) <= 10
    assert limiter.wait("busy", rule) > 0


def test_rates_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Unset, tokens and guesses are limited; what cannot be read is refused with what can."""
    assert rate_of(project_settings.DURABLE_OBJECTS_HTTP["RATE"]) == (5000, 1.0)
    assert rate_of(project_settings.DURABLE_OBJECTS_HTTP["FAILURE_RATE"]) == (60, 60.0)
    environment = Environment(tmp_path)
    for given, expected in (("100/s", (100, 1.0)), ("5000/h", (5000, 3600.0)), ("0", None)):
        monkeypatch.setenv("API_RATE", given)
        assert rate_of(environment.rate("API_RATE", "60/m")) == expected
    for wrong in ("100", "0/s", "fast", "1/d", "-1/s", "1.5/s"):
        monkeypatch.setenv("API_RATE", wrong)
        with pytest.raises(ImproperlyConfigured, match="allowed: a rate such as 100/s"):
            environment.rate("API_RATE", "0")
