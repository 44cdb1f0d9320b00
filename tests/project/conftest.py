"""What every test of the project starts with."""

from __future__ import annotations

import pytest

from durable_objects.http import auth, tokens
from project import admin_login


@pytest.fixture(autouse=True)
def _nobody_is_known() -> None:
    """This process has seen no token, and counted no request."""
    tokens.forget()
    auth.requests.clear()
    auth.failures.clear()
    admin_login.logins.clear()
