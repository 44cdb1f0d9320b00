"""System checks of the HTTP interface: what is mounted is guarded by its middleware too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
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
    before = list(takewhile(lambda each: each != MIDDLEWARE, settings.MIDDLEWARE))
    earlier = [each for each in before if each.startswith("django.")]  # whoever else may know why it stands there
    is_missing = len(before) == len(settings.MIDDLEWARE)
    if http.flaw() or not (is_missing or earlier) or not (roots := mounted.roots()):
        return []  # a flaw is durable_objects.E010
    how = "without its middleware" if is_missing else f"and {earlier[0]} stands before its middleware"
    text = f"An HTTP interface is mounted at {', '.join(roots)} {how}: bodies have no limit there, and "
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


@register(Tags.urls)
def check_areas(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that a token that is made for an area of one interface does not open an area of another one as well."""
    text = "Several HTTP interfaces have an area called {0!r}: a token with the scope {0}:read or {0}:write opens all."
    hint = "Give them names of their own; where they are one area, in two versions perhaps, silence this."
    interfaces = [] if http.flaw() else mounted.roots().values()
    names = Counter(name for api in set(interfaces) for name in {area.name for area in api.areas})
    shared = sorted(name for name, count in names.items() if count > 1)
    return [Warning(text.format(name), hint, id="durable_objects_http.W004") for name in shared]


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
