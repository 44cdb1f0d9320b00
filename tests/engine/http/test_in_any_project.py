"""The HTTP interface below a path of its own, in a site that is somebody else's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.test import Client
from ninja import Router
from ninja.errors import ConfigError

from durable_objects.http import checks, mounted, scopes
from durable_objects.http.api import GuardedAPI
from durable_objects.http.areas import Area
from durable_objects.http.body_limit import MAX_BODY_BYTES
from durable_objects.http.conf import http
from durable_objects.http.models import ApiToken
from durable_objects.http.routers import ScopedRouter
from tests.support import http_settings
from tests.support.server_interfaces import RawRequest, by_asgi, by_wsgi

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.engine.http.urls")]


@pytest.fixture(autouse=True)
def _no_pages(settings: Any) -> None:
    http_settings.change(settings, TOKENS=[], PAGES=[])
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = None


def token(*names: str) -> dict[str, str]:
    """The header with a new token that has these scopes."""
    return {"Authorization": f"Bearer {ApiToken(name='n', scopes=list(names)).issue()}"}


def test_an_area_of_ones_own_has_scopes(client: Client) -> None:
    """The scopes are those of the routers that are mounted, and a token with one opens it; those of others do not."""
    assert set(scopes.known()) == {"batcher:read", "batcher:write", "carts:read", "carts:write"}
    assert scopes.known()["carts:write"] == "change carts"
    assert client.get("/api/carts/ada").status_code == 401
    assert client.get("/api/carts/ada", headers=token("carts:write")).status_code == 403
    assert client.get("/api/carts/ada", headers=token("carts:read")).json() == {"cart": "ada"}
    with pytest.raises(ValidationError, match=r"unknown: orders:read. Allowed: .*carts:read, carts:write"):
        token("orders:read")


def test_refusals_have_their_form_below_the_interface_only(client: Client) -> None:
    """What Django refuses is JSON below ``/api/``, and names the paths there; elsewhere it is Django's page."""
    refused = client.get("/api/nothing")
    assert (refused.status_code, refused.json()["error"]["allowed"]) == (
        404,
        ["/api/carts/<name>", "/api/openapi.json"],
    )
    assert client.get("/nothing")["Content-Type"].startswith("text/html")


def closed(get_response: object) -> Callable[[HttpRequest], HttpResponse]:
    """A middleware of the project's, which is closed for maintenance; who writes has to log in."""

    def answer(request: HttpRequest) -> HttpResponse:
        if request.method == "GET":
            return HttpResponse("<p>closed", status=503, headers={"Retry-After": "120"})
        return HttpResponse("<p>who?", status=401, headers={"WWW-Authenticate": "Basic realm=x"})

    return answer


def test_a_refusal_of_the_projects_own_keeps_its_advice(client: Client, settings: Any) -> None:
    """In our form it says what the project's middleware said: when to come again, how to be let in."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.closed"]
    away, unknown = client.get("/api/carts/ada"), client.post("/api/carts/ada")
    assert (away.json()["error"]["code"], away["Retry-After"]) == ("busy", "120")
    assert (unknown.json()["error"]["code"], unknown["WWW-Authenticate"]) == ("unauthorized", "Basic realm=x")


def test_the_limit_that_is_named_is_the_one_in_force(client: Client, settings: Any) -> None:
    """Where Django's setting allows less than the interface, the refusal says how much that is."""
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    headers = token("batcher:write")
    refused = client.post("/within/api/batcher/a", b"x" * 1001, "text/plain", headers=headers)
    assert (refused.status_code, refused.json()["error"]["allowed"]) == (413, "1000 bytes")


@pytest.mark.parametrize("way", [by_wsgi, by_asgi])
def test_other_paths_are_not_touched(way: Any) -> None:
    """A body over the limit, compressed and of a Content-Type that is refused below ``/api/`` reaches another view."""
    headers = (("Content-Type", "text/x; charset*=utf-8''x"), ("Content-Encoding", "gzip"))
    body = b"x" * (MAX_BODY_BYTES + 1)
    assert way(RawRequest("POST", b"/upload", headers, body)).body == b"%d text/x" % len(body)
    assert way(RawRequest("POST", b"/api/carts/ada", headers, b"x")).status == 415
    assert way(RawRequest("POST", b"/api/carts/ada", headers[:1], b"x")).code == "malformed"


def test_a_router_under_another_guard(client: Client) -> None:
    """An app's router is a plain one under somebody else's API: who its guard lets in may use it."""
    body = {"message": "tea", "fire_at": "2030-01-31T09:00:00Z"}
    headers = {"Authorization": "Bearer ada"}
    assert client.put("/plain/reminders/tea", body, "application/json", headers=headers).status_code == 200


def test_a_router_without_a_scope_is_refused() -> None:
    """It would be open to nobody, and nobody would know why; one that says who may come in is mounted."""
    api = GuardedAPI(urls_namespace="refused")
    with pytest.raises(ConfigError, match="the router at '/x' has no scope"):
        api.add_router("/x", Router())
    api.add_router("/x", Router(), auth=None)


def test_an_interface_without_its_middleware(settings: Any) -> None:
    """The check names the path and the line to write."""
    assert [each.id for each in run_checks() if each.id == "durable_objects_http.W001"] == []
    settings.MIDDLEWARE = [each for each in settings.MIDDLEWARE if "ErrorsAsJson" not in each]
    (found,) = [each for each in run_checks() if each.id == "durable_objects_http.W001"]
    assert "/api/" in found.msg
    assert "durable_objects.http.errors.ErrorsAsJson" in str(found.hint)


@pytest.mark.parametrize(
    ("earlier", "is_reported"),
    [("django.middleware.common.CommonMiddleware", True), ("tests.support.Own", False), (None, False)],
)
def test_its_middleware_behind_another(settings: Any, earlier: str | None, is_reported: bool) -> None:
    """Behind one of Django's own, whose refusals it would not see, the check says which; of others it knows nothing."""
    settings.MIDDLEWARE = [
        *([earlier] if earlier else []),
        checks.MIDDLEWARE,
        "django.middleware.csrf.CsrfViewMiddleware",
    ]
    found = [each for each in checks.check_middleware(None) if each.id == "durable_objects_http.W001"]
    assert [str(earlier) in each.msg for each in found] == ([True] if is_reported else [])


def test_an_area_of_two_interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token for an area of one interface opens that of the other: the check names it, once for both paths."""
    assert checks.check_areas(None) == []
    one, other = mounted.roots().values()
    for name in ("carts", "orders"):
        area = Area(name, reads="look")
        monkeypatch.setattr(other, "areas", [*other.areas, area])
    monkeypatch.setattr(mounted, "roots", lambda: {"/api/": one, "/en/api/": one, "/within/api/": other})
    (found,) = checks.check_areas(None)
    assert found.id == "durable_objects_http.W004"
    assert "'carts'" in found.msg


def test_a_token_of_the_settings_that_can_be_guessed(settings: Any) -> None:
    """It opens everything, so outside of debugging the check names its place; the token is not repeated."""
    http_settings.change(settings, TOKENS=["a-token-of-16-characters-or-more", "fifteen-letters"])
    (found,) = [each for each in run_checks() if each.id == "durable_objects_http.W002"]
    assert 'DURABLE_OBJECTS_HTTP["TOKENS"][1] can be guessed' in found.msg
    assert "fifteen" not in found.msg
    settings.DEBUG = True
    assert [each for each in run_checks() if each.id == "durable_objects_http.W002"] == []


def test_an_interface_in_a_namespace(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that names the namespace it is in is found there; of one that does not, the check says what to do."""
    assert client.get("/within/api/nothing").json()["error"]["code"] == "not_found"
    lost = GuardedAPI(urls_namespace="lost")
    monkeypatch.setattr(mounted, "_apis", [*mounted.roots().values(), lost])
    (found,) = [each for each in run_checks() if each.id == "durable_objects_http.W003"]
    assert "urls_namespace='lost'" in found.msg
    assert "GuardedAPI(urls_namespace='shop:lost')" in str(found.hint)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"TOKEN": ["t"]}, "unknown key 'TOKEN'; known keys: FAILURE_RATE, PAGES, RATE, TOKENS"),
        ({"TOKENS": "secret"}, "['TOKENS'] is of type str; expected list"),
        ({"TOKENS": [b"secret"]}, "['TOKENS'] has a bytes in it; allowed: a list of texts"),
        ({"RATE": "fast"}, "['RATE'] is 'fast'; allowed: a rate such as 100/s"),
        ({"PAGES": ["admin/"]}, "['PAGES'] has 'admin/' in it; allowed: paths that begin with a slash"),
    ],
)
def test_wrong_settings_are_named(settings: Any, wrong: dict[str, Any], expected: str) -> None:
    """By ``manage.py check``, with what is allowed; a token is never shown."""
    settings.DURABLE_OBJECTS_HTTP = wrong
    assert expected in str(http.flaw())
    (found,) = [each for each in run_checks() if each.id == "durable_objects.E010"]
    assert expected in found.msg
    assert "secret" not in found.msg


def test_an_area_without_a_scope_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A router that says nothing of its scopes would refuse every token, those of the settings too."""
    monkeypatch.setattr(mounted, "_apis", [])
    with pytest.raises(ConfigError, match=r"'carts' has no scope.*reads="):
        GuardedAPI(urls_namespace="without").add_router("/carts", ScopedRouter("carts"))


def test_an_area_belongs_to_one_router(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token for one of two routers of the same area would open the other, so the second is refused."""
    monkeypatch.setattr(mounted, "_apis", [])
    api = GuardedAPI(urls_namespace="twice")
    api.add_router("/carts", ScopedRouter("carts", reads="look at carts"))
    with pytest.raises(ConfigError, match="'/orders' has the area 'carts', as another router has"):
        api.add_router("/orders", ScopedRouter("carts", reads="look at orders"))


def test_an_interface_below_languages(settings: Any, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below ``i18n_patterns`` every language's address is the interface's, with its limits and its form of refusals."""
    monkeypatch.setattr(mounted, "_apis", [])
    settings.LANGUAGES = [("en-us", "English"), ("de", "Deutsch")]
    settings.ROOT_URLCONF = "tests.engine.http.language_urls"
    for path in ("/en-us/api/", "/de/api/"):
        assert mounted.place_of(path) is mounted.Place.INTERFACE
        assert client.get(path + "nothing").json()["error"]["code"] == "not_found"
    assert mounted.place_of("/fr/api/") is mounted.Place.ELSEWHERE
