"""What every test of the project starts with."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from django.db import connections
from pytest_django import Settings

from durable_objects.http import auth, tokens
from project import admin_login
from tests.support import http_settings


@pytest.fixture(autouse=True)
def _nobody_is_known() -> None:
    """This process has seen no token, and counted no request."""
    tokens.forget()
    auth.requests.clear()
    auth.failures.clear()
    admin_login.logins.clear()


@pytest.fixture
def good_token(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token "good" is known. No connection outlives its request: under ASGI each may have a thread of its own."""
    http_settings.change(settings, TOKENS=["good"])
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)


@pytest.fixture
def many_requests(settings: Settings) -> Iterator[None]:
    """For tests that make thousands: sessions are in memory, and of what is refused no traceback is written."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    logging.disable(logging.WARNING)  # no logger's level, which beat's form resets: Celery sets up Django for it
    yield
    logging.disable(logging.NOTSET)
