"""What every test of the project starts with."""

from __future__ import annotations

import pytest

from project import access, tokens


@pytest.fixture(autouse=True)
def _nobody_is_known() -> None:
    """This process has seen no token, and counted no request."""
    tokens.forget()
    access.requests.clear()
    access.failures.clear()
    access.logins.clear()
