"""What the fast path leaves to Django's way: what a project's settings refuse, and what stands around the route."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.urls import path
from ninja import NinjaAPI
from ninja.renderers import JSONRenderer
from ninja.security import APIKeyHeader
from ninja.throttling import BaseThrottle
from pytest_django import Settings

from batcher import plain_requests
from batcher.api import router
from batcher.models import Batcher
from durable_objects import InvalidInput
from durable_objects.http import mounted as interfaces
from durable_objects.http.api import GuardedAPI
from durable_objects.http.auth import BearerToken
from durable_objects.http.tokens import Principal
from durable_objects.tables import Object
from tests.support import http_settings
from tests.support.server_interfaces import Answer, Mounted, RawRequest, by_asgi, by_wsgi

pytestmark = pytest.mark.django_db(transaction=True)

GOOD = ("Authorization", "Bearer good")
INTERFACES: dict[str, Callable[..., Answer]] = {"WSGI": by_wsgi, "ASGI": by_asgi}


@pytest.fixture(autouse=True)
def project(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A known token; connections end with their request; interfaces that a test makes are forgotten."""
    http_settings.change(settings, TOKENS=["good"])
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)
    monkeypatch.setattr(interfaces, "_apis", [*interfaces._apis])
    plain_requests._warn_once.cache_clear()


def post(*headers: tuple[str, str], target: str = "/batcher/a", body: bytes = b"an item") -> RawRequest:
    """A request with the good token."""
    return RawRequest("POST", target.encode(), (GOOD, *headers), body)


def answer_of_both(sent: RawRequest, ask: Callable[..., Answer], mounted: Mounted | None = None) -> Answer:
    """What Django's way answers; fails unless the fast path answers, and stores, the same."""
    found = []
    for fast in (False, True):
        answer = ask(sent, fast=fast, **({"mounted": mounted} if mounted else {}))
        names = [one.name for one in Batcher.objects.all() if one.queued()]
        found.append((answer.meaning, names))
        Object.objects.all().delete()
    assert found[0] == found[1]
    return answer


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize(
    ("given", "sent", "status"),
    [
        ({"USE_X_FORWARDED_HOST": True}, post(("X-Forwarded-Host", "elsewhere.example")), 400),
        ({"USE_X_FORWARDED_HOST": True}, post(("X-Forwarded-Host", "localhost"), ("Host", "inside")), 200),
        ({}, post(("X-Forwarded-Host", "elsewhere.example")), 200),
        ({"PREPEND_WWW": True}, post(), 301),
        ({"PREPEND_WWW": True}, post(("Host", "www.localhost")), 200),
        ({"DISALLOWED_USER_AGENTS": [re.compile("^bad")]}, post(("User-Agent", "bad/1")), 403),
        ({"DISALLOWED_USER_AGENTS": [re.compile("^bad")]}, post(("User-Agent", "good/1")), 200),
        ({"DATA_UPLOAD_MAX_MEMORY_SIZE": 1000}, post(body=b"x" * 1000), 200),
        ({"DATA_UPLOAD_MAX_MEMORY_SIZE": 1000}, post(body=b"x" * 1001), 413),
        ({"DATA_UPLOAD_MAX_MEMORY_SIZE": None}, post(body=b"x" * 1001), 200),
        ({"FORCE_SCRIPT_NAME": "/site"}, post(), 200),
    ],
)
def test_what_settings_say_holds_by_either_way(
    interface: str, given: dict[str, Any], sent: RawRequest, status: int, settings: Settings
) -> None:
    """What Django's own middleware and request refuse by a setting is refused past them too, and nothing else is."""
    settings.ALLOWED_HOSTS = [".localhost"]
    for name, value in given.items():
        setattr(settings, name, value)
    assert answer_of_both(sent, INTERFACES[interface]).status == status


def cors(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """A middleware that lets pages of another site read the answers."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["Access-Control-Allow-Origin"] = request.headers.get("Origin", "")
        return response

    return answer


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_page_in_a_browser_may_read_the_answer(interface: str, settings: Settings) -> None:
    """A post with an Origin goes through the project's middleware: without its header the page would post again."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.cors"]
    answer = INTERFACES[interface](post(("Origin", "https://shop.example")), fast=True)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://shop.example")


class Key(APIKeyHeader):
    """Somebody else's guard."""

    param_name = "X-Key"

    def authenticate(self, request: HttpRequest, key: str | None) -> Any:
        """Let a key in."""
        return key


class Narrower(BearerToken):
    """Our guard with a condition of the project's."""

    def __call__(self, request: HttpRequest) -> Principal:
        """Let nobody in."""
        raise InvalidInput("only on working days")


class Never(BaseThrottle):
    """Lets nothing through."""

    def allow_request(self, request: HttpRequest) -> bool:
        """Say no."""
        return False


class Indented(JSONRenderer):
    """JSON for people."""

    json_dumps_params = {"indent": 1}


def forbidding(view: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator of the project's."""

    @functools.wraps(view)
    def refuse(request: HttpRequest, *arguments: Any, **named: Any) -> HttpResponse:
        return HttpResponse("not today", status=403)

    return refuse


def guarded(**kwargs: Any) -> GuardedAPI:
    """An interface that has batchers at ``/batcher``, mounted with these arguments."""
    api = GuardedAPI(urls_namespace="shop")
    api.add_router("/batcher", router, **kwargs)
    return api


def decorated(mode: Any) -> NinjaAPI:
    """One whose routes are all decorated."""
    api = GuardedAPI(urls_namespace="shop")
    api.add_decorator(forbidding, mode=mode)
    api.add_router("/batcher", router)
    return api


def rendering() -> NinjaAPI:
    """One with a renderer of its own."""
    api = guarded()
    api.renderer = Indented()
    return api


def foreign() -> NinjaAPI:
    """One that is not ours, with its own guard."""
    api = NinjaAPI(urls_namespace="shop", auth=Key())
    api.add_router("/batcher", router)
    return api


def wrapped(api: NinjaAPI) -> list[Any]:
    """The addresses of an interface, a view of the project's around each."""
    addresses, app, namespace = api.urls
    for address in addresses:
        assert address.callback is not None
        address.callback = forbidding(address.callback)
    return [path("api/", (addresses, app, namespace))]


def beside(api: NinjaAPI) -> list[Any]:
    """The addresses of an interface, and a page of the project's among its batchers."""
    return [path("api/batcher/a", forbidding(lambda: None)), path("api/", api.urls)]


def usual(api: NinjaAPI) -> list[Any]:
    """The addresses of an interface."""
    return [path("api/", api.urls)]


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize(
    ("make", "addresses", "status"),
    [
        pytest.param(guarded, usual, 200, id="nothing"),
        pytest.param(lambda: guarded(auth=Key()), usual, 401, id="a guard"),
        pytest.param(lambda: guarded(auth=[BearerToken("batcher"), Key()]), usual, 200, id="two guards"),
        pytest.param(lambda: guarded(auth=BearerToken("carts")), usual, 403, id="another scope"),
        pytest.param(lambda: guarded(auth=Narrower("batcher")), usual, 422, id="a guard like ours"),
        pytest.param(lambda: guarded(throttle=Never()), usual, 429, id="a throttle"),
        pytest.param(functools.partial(decorated, "view"), usual, 403, id="a decorator"),
        pytest.param(functools.partial(decorated, "operation"), usual, 403, id="a decorator inside"),
        pytest.param(rendering, usual, 200, id="a renderer"),
        pytest.param(foreign, usual, 401, id="another interface"),
        pytest.param(guarded, wrapped, 403, id="a view around it"),
        pytest.param(guarded, beside, 403, id="a page of that name"),
    ],
)
def test_what_a_project_puts_around_the_route_is_asked(
    interface: str,
    make: Callable[[], NinjaAPI],
    addresses: Callable[[NinjaAPI], list[Any]],
    status: int,
    settings: Settings,
) -> None:
    """A guard, throttle, decorator, renderer or page of the project's own is never gone past."""
    api = make()
    settings.ROOT_URLCONF = type("Urls", (), {"urlpatterns": addresses(api)})
    sent = post(target="/api/batcher/a")
    assert answer_of_both(sent, INTERFACES[interface], Mounted(api, "/api/batcher/")).status == status


def test_a_fast_path_that_is_of_no_use_says_so_once(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Told of an API or a prefix that is not where batchers are, it leaves them to Django, and names the prefix."""
    settings.ROOT_URLCONF = type("Urls", (), {"urlpatterns": usual(guarded())})
    for name in ("a", "b"):
        sent = post(target=f"/api/batcher/{name}")
        assert by_wsgi(sent, fast=True, mounted=Mounted(guarded(), "/api/batcher/")).status == 200
    assert [line.args for line in caplog.records if line.name == "batcher.fast_path"] == [("/api/batcher/",)]


@pytest.mark.parametrize("interface", INTERFACES)
def test_an_answer_of_the_projects_own_has_its_status_and_our_form(interface: str, settings: Settings) -> None:
    """A handler of errors may answer with a page and a status that no standard names: clients get it in our form."""
    api = guarded()
    api.add_exception_handler(InvalidInput, lambda request, error: HttpResponse("closed", status=499))
    settings.ROOT_URLCONF = type("Urls", (), {"urlpatterns": usual(api)})
    sent = post(("Content-Type", "application/json"), target="/api/batcher/a", body=b'"\\u0000"')
    answer = answer_of_both(sent, INTERFACES[interface], Mounted(api, "/api/batcher/"))
    assert (answer.status, answer.code) == (499, "refused")
