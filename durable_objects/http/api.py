"""An HTTP interface of one's own: guarded by bearer tokens, closed by default, one form of refusals."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest
from django.utils.module_loading import import_string
from ninja import NinjaAPI, Router
from ninja.constants import NOT_SET
from ninja.errors import ConfigError
from ninja.parser import Parser

from durable_objects.http import errors, mounted, openapi
from durable_objects.http.areas import Area
from durable_objects.http.auth import BearerToken
from durable_objects.http.routers import ScopedRouter
from durable_objects.http_bodies import text_in


class OneCharset(Parser):
    """Reads the bodies of all routes by one rule."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        """Return the JSON, in the charset that the Content-Type names, else in UTF-8."""
        body: dict[str, Any] = json.loads(text_in(request.body, request.headers.get("Content-Type", "")))
        return body


class GuardedAPI(NinjaAPI):
    """ninja's API, every route of which asks for a token; all arguments are ninja's.

        api = GuardedAPI(title="Shop")
        api.add_router("/batcher", "batcher.api.router")
        urlpatterns = [path("api/", api.urls)]

    A route beside the routers is open to nobody, unless it says ``auth=None``. No cookies, no sessions, so nothing that
    a browser could be tricked into (CSRF). ninja's documentation page is off, since it loads its scripts from other
    hosts; ``/openapi.json`` is open. Every refusal has the form of ``durable_objects.http.errors``, whose middleware
    gives it to what Django refuses too.
    """

    def __init__(self, **kwargs: Any) -> None:
        self.areas: list[Area] = []
        self.tags: dict[str, str] = {}
        usual: dict[str, Any] = {
            "description": openapi.DESCRIPTION,
            "auth": BearerToken("nothing"),
            "docs_url": None,
            "parser": OneCharset(),
            "urls_namespace": "api",
        }
        super().__init__(**(usual | kwargs))
        errors.install(self)
        mounted.add(self)

    def add_router(self, prefix: str, router: Router | str, **kwargs: Any) -> None:
        """Mount a router, as ninja does. A ``ScopedRouter`` asks for the scopes of its area; raises ``ConfigError`` for
        any other that has no ``auth``, and for an area without a scope: their routes would be open to nobody. Also for
        an area that another router of this interface has: a token made for one would open both.
        """
        given = import_string(router) if isinstance(router, str) else router
        if isinstance(given, ScopedRouter):
            if not (given.area.reads or given.area.writes):
                name = given.area.name
                raise ConfigError(
                    f"the area {name!r} has no scope, so that no token opens the router at {prefix!r}: say what its "
                    f'scopes allow, ScopedRouter({name!r}, reads="look at {name}", writes="change {name}")'
                )
            if given.area.name in {area.name for area in self.areas}:
                raise ConfigError(
                    f"the router at {prefix!r} has the area {given.area.name!r}, as another router has that this "
                    "interface mounts: a token made for one would open both. Give it a name of its own"
                )
            self.areas.append(given.area)
            self.tags |= dict.fromkeys(given.tags or (), given.description)
            kwargs = {"auth": BearerToken(given.area.name)} | kwargs
        elif given is not self.default_router and NOT_SET is given.auth is kwargs.get("auth", NOT_SET):
            raise ConfigError(
                f"the router at {prefix!r} has no scope: make it a durable_objects.http.routers.ScopedRouter, or say "
                "auth=... (None: open to everybody)"
            )
        super().add_router(prefix, given, **kwargs)

    def get_openapi_schema(self, **kwargs: Any) -> Any:
        """Return ninja's description, with what applies to all routes filled in."""
        return openapi.complete(super().get_openapi_schema(**kwargs), self.tags)
