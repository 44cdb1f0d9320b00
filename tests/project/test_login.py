"""The brake on the log-in to admin."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from pytest_django import Settings

from project import settings as project_settings

pytestmark = pytest.mark.django_db
HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture(autouse=True)
def _ada(settings: Settings) -> None:
    settings.LOGIN_FAILURE_RATE = "3/m"
    get_user_model()._default_manager.create_superuser("ada", password="right")


def log_in(password: str, address: str = HERE, **more: Any) -> Any:
    """The answer to a log-in from this address."""
    client = Client(REMOTE_ADDR=address)
    return client.post("/admin/login/", {"username": "ada", "password": password, "next": "/admin/"}, **more)


def test_who_guesses_is_told_to_wait(caplog: pytest.LogCaptureFixture) -> None:
    """After ``LOGIN_FAILURE_RATE`` failures not even the right password is tried; other addresses are not held up."""
    with caplog.at_level(logging.WARNING, "project.login"):
        assert ["Please enter the correct" in log_in("wrong").content.decode() for _ in range(3)] == [True] * 3
        refused = log_in("right")
    assert refused.status_code == 200
    assert "Too many failed log-ins from your address. Try again in" in refused.content.decode()
    assert log_in("right", ELSEWHERE).status_code == 302
    assert caplog.messages == [f"failed log-in as 'ada' from {HERE}"] * 3


def test_who_knows_the_password_is_never_held_up() -> None:
    """Log-ins that succeed are not counted, however many come from one address."""
    assert [log_in("right").status_code for _ in range(10)] == [302] * 10


@pytest.mark.parametrize(
    ("addresses", "is_one"),
    [
        (["2001:db8:0:7::1", "2001:db8:0:7::2", "2001:db8:0:7:f::3", "2001:db8:0:7::4"], True),
        (["2001:db8:0:7::1", "2001:db8:0:8::1", "2001:db8:0:9::1", "2001:db8:0:a::1"], False),
        (["192.0.2.7", "::ffff:192.0.2.7", "192.0.2.7", "::ffff:192.0.2.7"], True),
        (["fe80::1%eth0", "fe80::2%eth1", "fe80::3", "fe80::4"], True),
    ],
)
def test_addresses_that_count_as_one(addresses: list[str], is_one: bool) -> None:
    """Who has one IPv6 address has its /64; an IPv4 address is itself, in whichever form."""
    for address in addresses[:3]:
        log_in("wrong", address)
    assert (log_in("right", addresses[3]).status_code == 200) == is_one


@pytest.mark.parametrize(
    "forwarded",
    [
        ["192.0.2.9:1001", "192.0.2.9:1002", "192.0.2.9", "192.0.2.9:1003"],
        ["[2001:db8::9]:1001", "[2001:db8::8]", "2001:db8::7", '"[2001:db8::6]:1003"'],
        ["192.0.2.1, 192.0.2.9:1", "192.0.2.2,192.0.2.9", "192.0.2.9", " 192.0.2.9:7 "],
        ["unknown", "_hidden", "", "a:b:c"],
    ],
)
def test_addresses_that_a_proxy_forwards(forwarded: list[str], settings: Settings) -> None:
    """Ports do not make another address, and what is no address leaves that of the proxy."""
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    for address in forwarded[:3]:
        log_in("wrong", HTTP_X_FORWARDED_FOR=address)
    assert log_in("right", HTTP_X_FORWARDED_FOR=forwarded[3]).status_code == 200


def test_there_is_a_brake_unless_it_is_taken_off() -> None:
    """By default an address has ten failures a minute."""
    assert project_settings.LOGIN_FAILURE_RATE == "10/m"
