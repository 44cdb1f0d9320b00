"""System checks of the HTTP interface: what is mounted is guarded by its middleware too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004  Django's name

from durable_objects.http import mounted
from durable_objects.http.conf import http

MIDDLEWARE = "durable_objects.http.errors.ErrorsAsJson"


@register(Tags.urls)
def check_middleware(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that a mounted interface has the middleware that limits bodies and gives every refusal its form."""
    if http.flaw() or MIDDLEWARE in settings.MIDDLEWARE or not (roots := mounted.roots()):
        return []  # a flaw is durable_objects.E010
    text = (
        f"An HTTP interface is mounted at {', '.join(roots)} without its middleware: bodies have no limit there, and "
    )
    text += "what Django refuses (404, 405, a host) is answered by pages of HTML."
    return [Warning(text, f'Write "{MIDDLEWARE}" first in MIDDLEWARE.', id="durable_objects_http.W001")]
