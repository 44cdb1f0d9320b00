"""Settings of the HTTP interface for a test: some of them changed, the project's others kept."""

from __future__ import annotations

from typing import Any


def change(settings: Any, **changes: Any) -> None:
    """Lay these over ``DURABLE_OBJECTS_HTTP``; ``settings`` is pytest-django's fixture, which undoes it."""
    settings.DURABLE_OBJECTS_HTTP = {**settings.DURABLE_OBJECTS_HTTP, **changes}
