"""System checks of the HTTP interface: what is mounted is guarded by its middleware too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004  Django's name

from durable_objects.conf import token_flaw
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


@register(Tags.urls)
def check_namespaces(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that each interface is found by its name: else nothing here knows which paths are its own."""
    text = "The HTTP interface with urls_namespace={0!r} is not found under that name in the URLs: its scopes, its "
    text += "limits and its form of refusals are not in force."
    hint = "Where it is included in a namespace, name that too: GuardedAPI(urls_namespace='shop:{0}') in 'shop'."
    names = [] if http.flaw() else mounted.not_found()
    return [Warning(text.format(name), hint.format(name), id="durable_objects_http.W003") for name in names]


@register(Tags.security)
def check_tokens(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that nobody guesses a token of the settings, which opens everything, and that requests can carry it; not
    while debugging.
    """
    if http.flaw() or settings.DEBUG:
        return []
    hint = "Replace it: it opens everything."
    return [
        Warning(f'DURABLE_OBJECTS_HTTP["TOKENS"][{number}] {flaw}.', hint, id="durable_objects_http.W002")
        for number, token in enumerate(http.TOKENS)
        if (flaw := token_flaw(token))
    ]
