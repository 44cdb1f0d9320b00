"""Which paths are an interface's, which are pages for people beside it, and which are none of our business."""

from __future__ import annotations

from collections.abc import MutableMapping
from contextlib import suppress
from enum import Enum
from functools import lru_cache
from typing import Any, Protocol

from django.conf import settings
from django.urls import LocalePrefixPattern, NoReverseMatch, URLResolver, get_resolver, get_script_prefix, reverse
from django.utils import translation

from durable_objects.http.areas import Area
from durable_objects.http.conf import http


class Interface(Protocol):
    """What is needed here of an API. ninja is not imported: it reads Django's settings, too early for a wsgi.py."""

    urls_namespace: str
    openapi_url: str | None
    areas: list[Area]

    def get_openapi_schema(self, *, path_prefix: str | None) -> Any:
        """Return the description of all routes."""


_apis: list[Interface] = []


class Place(Enum):
    """What is at a path."""

    INTERFACE = "for programs: every error is JSON"
    PAGES = "pages for people, with the same limits and Django's own errors"
    ELSEWHERE = "the project's own, which nothing here touches"


def add(api: Interface) -> None:
    """Make an interface known, wherever it will be mounted."""
    _apis.append(api)


def place_of(path: str) -> Place:
    """Return what is at a path, as it stands in ``request.path_info``."""
    if any(path == page or (page != "/" and path.startswith(page)) for page in http.PAGES):
        return Place.PAGES
    return Place.INTERFACE if path.startswith(tuple(_roots(get_resolver()))) else Place.ELSEWHERE


def path_info_of(scope: MutableMapping[str, Any]) -> str:
    """Return what will be ``request.path_info`` of the request in an ASGI scope."""
    return str(scope["path"]).removeprefix(scope.get("root_path", "")) or "/"


def paths(path: str) -> list[str]:
    """Return every path of the interface that this one belongs to, such as ``/batcher/<name>``."""
    found = [root for root in roots() if path.startswith(root)]
    return list(_paths(get_resolver(), max(found, key=len))) if found else []


def roots() -> dict[str, Interface]:
    """Return the interfaces by the path that each is mounted at, such as ``/api/``."""
    return _roots(get_resolver())


def not_found() -> list[str]:
    """Return the ``urls_namespace`` of each interface that was made and has no address under that name."""
    return [api.urls_namespace for api in _apis if api not in roots().values()]


@lru_cache(maxsize=8)
def _roots(resolver: URLResolver) -> dict[str, Interface]:
    _ = resolver.url_patterns  # an interface is made where it is mounted
    found: dict[str, Interface] = {}
    for language in _languages(resolver):
        with translation.override(language):
            for api in _apis:
                with suppress(NoReverseMatch):  # made, and mounted nowhere
                    found["/" + reverse(f"{api.urls_namespace}:api-root").removeprefix(get_script_prefix())] = api
    return found


def _languages(resolver: URLResolver) -> list[str]:
    """Return the languages that an address may begin with: below ``i18n_patterns`` an interface has one for each."""
    if not any(isinstance(each.pattern, LocalePrefixPattern) for each in resolver.url_patterns):
        return [settings.LANGUAGE_CODE]
    return [language for language, _ in settings.LANGUAGES]


@lru_cache(maxsize=8)
def _paths(resolver: URLResolver, root: str) -> tuple[str, ...]:
    api = _roots(resolver)[root]
    described = api.get_openapi_schema(path_prefix=root)["paths"]
    found = [path.replace("{", "<").replace("}", ">") for path in described]
    return (*found, root.rstrip("/") + api.openapi_url) if api.openapi_url else tuple(found)
