"""The form of every refusal of the HTTP interface: ``{"error": {"code", "message", "allowed"}}``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, UnreadablePostError
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from durable_objects import DurableObjectError, InvalidInput, InvalidName, InvalidValue, ObjectBusy
from durable_objects.http.body_limit import (
    MAX_BODY_BYTES,
    BodyWithheld,
    bound_body,
    most_bytes,
    problem_of,
    stop_reading,
)
from durable_objects.http.content_type_header import REFUSED
from durable_objects.http.mounted import Place, paths, place_of
from durable_objects.logs import get_logger

logger = get_logger("durable_objects.http.errors")

AnyResponse = TypeVar("AnyResponse", bound=HttpResponseBase)

#: The code of each status that a request can fail with; any other 4xx is "refused".
CODES = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    422: "refused",
    429: "full",
    431: "headers_too_large",
    500: "internal",
    503: "busy",
}
CONTENT_TYPES = "a media type with plain parameters, and a text charset such as utf-8, utf-16 or iso-8859-1"
SECONDS_UNTIL_NEXT_TRY = 1
#: What the engine's errors allow by the types of Python, as JSON has it.
ALLOWED_IN_JSON = {
    InvalidName.allowed: "text of 1 to 512 characters, without NUL or lone surrogates",
    InvalidValue.allowed: "a JSON value, at most 200 levels deep, without NUL or lone surrogates in text, up to 2 MB",
}
#: Headers by which a refusal of the project's own says what to do.
ADVICE = ("Retry-After", "WWW-Authenticate")
USUAL_BEGINNING = "Input should be "
_DURATION, _OBJECT = "a duration: seconds, or ISO 8601 such as PT10M", "a JSON object"
#: What a field should be, by the type of pydantic's error.
EXPECTED = {
    "string_type": "text",
    "list_type": "a list",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "time_delta_type": _DURATION,
    "time_delta_parsing": _DURATION,
    "time_delta_not_fixed": _DURATION,
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
}


class Refused(HttpError):
    """A refusal; arguments as ``refusal``. Raised in a route, it becomes the answer."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, allowed: Any = None, retry_after: int | None = None
    ) -> None:
        super().__init__(status, message)
        self.code, self.allowed, self.retry_after = code, allowed, retry_after


def error(status: int, message: str, *, code: str | None = None, allowed: Any = None) -> dict[str, Any]:
    """Return the body of a refusal. ``code`` is for programs (default: by status), ``message`` says what was wrong,
    with the value, ``allowed`` what would be accepted (null when nothing would).
    """
    fallback = "refused" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "internal"
    return {"error": {"code": code or CODES.get(status, fallback), "message": message, "allowed": allowed}}


#: The body of the answer to a request over the limit.
TOO_LARGE = error(413, f"the request's body has more than {MAX_BODY_BYTES} bytes", allowed=f"{MAX_BODY_BYTES} bytes")


def refusal(
    status: int, message: str, *, code: str | None = None, allowed: Any = None, retry_after: int | None = None
) -> JsonResponse:
    """Return the answer to a request that is refused; arguments as ``error``. 429 and 503 say by Retry-After when to
    come again.
    """
    response = JsonResponse(error(status, message, code=code, allowed=allowed), status=status)
    if retry_after is not None or status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        response["Retry-After"] = str(retry_after or SECONDS_UNTIL_NEXT_TRY)
    if status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = "Bearer"
    return response


class ErrorsAsJson:
    """Middleware, to stand before Django's own: refuses what nobody should see, and gives errors our form.

    It touches the paths of the interfaces that are mounted, and ``DURABLE_OBJECTS_HTTP["PAGES"]``, no others. Refused
    on each of them are a Content-Type that is none (as ``content_type_header`` noted it), a body over 1 MiB (before it
    is read, where its length is known), a compressed one, a path that is not UTF-8, and a body that breaks off.
    Pages for people say so in a line of text; else everything that the URL resolver, Django's middleware, its debug
    pages or ninja answer in another form (404, 405, a refused host, an exception) is turned into ours, and HEAD is
    answered as GET without the body. Sets no cookie, touches no session.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        place = place_of(request.path_info)
        if place is Place.ELSEWHERE:
            return self.get_response(request)
        response = self._page(request) if place is Place.PAGES else self._interface(request)
        stop_reading(request)
        return response

    def _interface(self, request: HttpRequest) -> HttpResponseBase:
        head, request.method = request.method == "HEAD", "GET" if request.method == "HEAD" else request.method
        response = in_our_form(request, refused_unseen(request) or self.get_response(request))
        if head and isinstance(response, HttpResponse):
            response.headers.setdefault("Content-Length", str(len(response.content)))
            response.content = b""
        return response

    def _page(self, request: HttpRequest) -> HttpResponseBase:
        refused = refused_unseen(request)
        response = refused or self.get_response(request)
        if refused is None and response.status_code >= HTTPStatus.BAD_REQUEST:
            refused = body_refusal(problem_of(request))
        return response if refused is None else _in_a_line(refused)


def refused_unseen(request: HttpRequest) -> JsonResponse | None:
    """Return the refusal of what no view may see, None for all else."""
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        return refusal(415, f"the body is encoded ({encoding[:40]})", allowed="a plain body: no Content-Encoding")
    if problem := request.META.get(REFUSED) or getattr(request, "scope", {}).get(REFUSED):
        return refusal(400, problem, allowed=CONTENT_TYPES)
    if not is_percent_encoded_utf8(path_as_sent(request)):
        return refusal(400, "the path is not percent-encoded UTF-8", allowed="UTF-8, with %25 for a percent sign")
    if {".", ".."} & set(request.path_info.split("/")):
        return refusal(
            400, "the path has a segment '.' or '..', which clients and proxies resolve", allowed="another name"
        )
    try:
        bound_body(request)
    except (RequestDataTooBig, UnreadablePostError) as problem:
        return body_refusal(problem)
    return None


def body_refusal(problem: Exception | None) -> JsonResponse | None:
    """Return the refusal of a body with this problem (see ``durable_objects.http.body_limit``); None for none."""
    if isinstance(problem, RequestDataTooBig):
        most = most_bytes()
        return refusal(413, f"the request's body has more than {most} bytes", allowed=f"{most} bytes")
    return (
        None
        if problem is None
        else refusal(400, str(problem), allowed="a body of the length that Content-Length gives")
    )


def path_as_sent(request: HttpRequest) -> bytes:
    """Return the path before anything decoded it; empty where the server does not pass it on."""
    scope: dict[str, Any] = getattr(request, "scope", {})
    if raw := scope.get("raw_path"):
        return bytes(raw).partition(b"?")[0]
    return uri_of(request.META).partition("?")[0].encode("latin-1", "replace")


def uri_of(environ: Mapping[str, Any]) -> str:
    """Return the target of a request as it was sent; empty where the WSGI server does not pass it on."""
    return environ.get("REQUEST_URI") or environ.get("RAW_URI") or ""  # waitress, gunicorn


def is_percent_encoded_utf8(path: bytes) -> bool:
    """Return whether a path, as it was sent, names exactly one text: else several spellings would be one object."""
    try:
        unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return False
    return not re.search(b"%(?![0-9A-Fa-f]{2})", path)


def in_our_form(request: HttpRequest, response: AnyResponse) -> AnyResponse | JsonResponse:
    """Return the same refusal as ``response``, in our form; the page that it carried is dropped (it may hold
    settings), its advice is kept. Anything else, and what is JSON already, is returned as it is.
    """
    is_json = response.get("Content-Type", "").startswith("application/json")
    if response.status_code < HTTPStatus.BAD_REQUEST or is_json:
        return response
    answer = _refusal_like(request, response)
    for name in ADVICE:
        if response.has_header(name):
            answer[name] = response[name]
    return answer


def _refusal_like(request: HttpRequest, response: HttpResponseBase) -> JsonResponse:
    status = response.status_code
    if status == HTTPStatus.NOT_FOUND:
        message = f"there is nothing at {request.path_info}; a name is one path segment"
        return refusal(status, message, allowed=paths(request.path_info))
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        methods = sorted({method.strip() for method in response.get("Allow", "").split(",") if method.strip()})
        methods += ["HEAD"] if "GET" in methods else []
        answer = refusal(status, f"{request.method} is not allowed for {request.path_info}", allowed=methods)
        answer["Allow"] = ", ".join(methods)
        return answer
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return refusal(status, "the server failed on this request; its log has the traceback")
    return refusal(status, response.reason_phrase)


def _in_a_line(refused: JsonResponse) -> HttpResponse:
    """Return a refusal as a line of text, for people."""
    message = json.loads(refused.content)["error"]["message"]
    return HttpResponse(f"{message}\n", status=refused.status_code, content_type="text/plain; charset=utf-8")


def install(api: NinjaAPI) -> None:
    """Make ``api`` answer every exception that a route raises in our form."""
    handlers: dict[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
        InvalidInput: _invalid_input,
        ObjectBusy: _busy,
        DurableObjectError: _not_now,
        ValidationError: _not_valid,
        HttpError: _http_error,
        Http404: _not_found,
        BodyWithheld: _withheld,
        RequestDataTooBig: _bad_body,
        UnreadablePostError: _bad_body,
        OperationalError: _database_away,
        InterfaceError: _database_away,
        Exception: _failed,
    }
    for exception, handler in handlers.items():
        api.add_exception_handler(exception, handler)


def _invalid_input(request: HttpRequest, exc: InvalidInput) -> HttpResponse:
    code = re.sub(r"(?<!^)(?=[A-Z])", "_", type(exc).__name__).lower()
    allowed = ALLOWED_IN_JSON.get(exc.allowed, exc.allowed)
    return refusal(422, str(exc).replace(exc.allowed, allowed), code=code, allowed=allowed)


def _busy(request: HttpRequest, exc: ObjectBusy) -> HttpResponse:
    return refusal(503, str(exc), allowed="the same request again, later")


def _not_now(request: HttpRequest, exc: DurableObjectError) -> HttpResponse:
    """Refuse with 429 what has a ``retry_after`` (a timedelta): it is no failure of the server."""
    retry_after: timedelta | None = getattr(exc, "retry_after", None)
    if retry_after is None:
        return _failed(request, exc)
    seconds = max(math.ceil(retry_after.total_seconds()), SECONDS_UNTIL_NEXT_TRY)
    return refusal(429, str(exc), allowed=f"the same request after {seconds} s", retry_after=seconds)


def _not_valid(request: HttpRequest, exc: ValidationError) -> HttpResponse:
    flaws = [_flaw(each) for each in exc.errors]
    allowed = dict.fromkeys(allowed for _, allowed in flaws)
    return refusal(422, "; ".join(problem for problem, _ in flaws), allowed="; ".join(allowed))


def _flaw(each: dict[str, Any]) -> tuple[str, str]:
    """Return what pydantic found wrong and what is allowed, by the field's name in the JSON, path or header."""
    source, *path = each["loc"]
    # The fields of a body stand behind the name of the view's parameter.
    field = ".".join(map(str, path[1:] if source == "body" else path)) or "the body"
    kind, text = each["type"], each["msg"]
    if kind == "missing":
        return f"{field} is missing", f"{field}: a value"
    if kind == "extra_forbidden":
        return f"{field} is not a field of this request", "the fields that /openapi.json describes"
    is_usual = text.startswith(USUAL_BEGINNING)
    expected = EXPECTED.get(kind, text.removeprefix(USUAL_BEGINNING) if is_usual else "as /openapi.json describes it")
    return f"{field} is not {expected}" if is_usual else f"{field}: {text}", f"{field}: {expected}"


def _http_error(request: HttpRequest, exc: HttpError) -> HttpResponse:
    details = {name: getattr(exc, name, None) for name in ("code", "allowed", "retry_after")}
    return refusal(exc.status_code, str(exc), **details)


def _withheld(request: HttpRequest, exc: BodyWithheld) -> HttpResponse:
    return refusal(503, "the token could not be looked up while the body was sent", allowed="the same request again")


def _bad_body(request: HttpRequest, exc: Exception) -> HttpResponse:
    return body_refusal(exc) or _failed(request, exc)


def _not_found(request: HttpRequest, exc: Http404) -> HttpResponse:
    return refusal(404, str(exc) or f"there is nothing at {request.path_info}", allowed=paths(request.path_info))


def _database_away(request: HttpRequest, exc: Exception) -> HttpResponse:
    logger.error("%s %s: the database refused: %s", request.method, request.path_info, exc)
    return refusal(503, "the database does not answer just now", code="database_away", allowed="the same request again")


def _failed(request: HttpRequest, exc: Exception) -> HttpResponse:
    logger.error("%s %s failed", request.method, request.path_info, exc_info=exc)
    return refusal(500, "the server failed on this request; its log has the traceback")
