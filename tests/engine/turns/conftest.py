"""Fixtures for the tests of turns."""

from __future__ import annotations

import pytest
from django.db import connection


@pytest.fixture
def kept_for_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections end with what they are used for, as ``project.asgi`` has it."""
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)
