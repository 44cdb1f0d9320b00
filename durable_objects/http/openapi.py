"""The description of an HTTP interface (``/openapi.json``): what ninja says of each route, and what applies to all."""

from __future__ import annotations

from typing import Any

from durable_objects.http.body_limit import MAX_BODY_BYTES
from durable_objects.http.errors import error

DESCRIPTION = """\
Every request needs a bearer token, but for this description and where a route says that it is open; the token's scopes
say what it opens.

A name is one path segment, percent-encoded. An object that was never used answers with zeros, and reading it creates
nothing. Every refusal has the same form, and has changed nothing: `code` is for programs, `message` says what was
wrong, `allowed` what would be accepted. A body has at most 1 MiB and is not compressed. HEAD is answered wherever GET
is.
"""
#: What a name may be: a path segment of 1 to 512 characters that every database keeps.
NAME = {"type": "string", "minLength": 1, "maxLength": 512, "pattern": r"^[^/\x00]{1,512}$", "example": "orders"}

ERROR = {
    "type": "object",
    "description": "The answer to every refused request.",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "allowed"],
            "additionalProperties": False,
            "properties": {
                "code": {"type": "string", "description": "For programs."},
                "message": {"type": "string", "description": "What was wrong, with the value."},
                "allowed": {"description": "What would be accepted; null where nothing would."},
            },
        }
    },
}
_SECONDS = {"description": "Seconds until the next try.", "schema": {"type": "string", "pattern": "^[0-9]+$"}}
_RETRY_AFTER = {"Retry-After": _SECONDS}
_CHALLENGE = {
    "WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string", "const": "Bearer"}}
}


def _refused(description: str, example: dict[str, Any], headers: dict[str, Any] | None = None) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}, "example": example}}
    return {"description": description, "content": content} | ({"headers": headers} if headers else {})


#: What any route may answer beside its own, by status; and what those with a token may.
ANYWHERE = {
    "400": _refused(
        "Malformed: not JSON, not UTF-8 or not HTTP.",
        error(400, "the body is not JSON: Expecting value: line 1 column 1 (char 0)"),
    ),
    "404": _refused(
        "There is nothing at this path, or nothing on record.",
        error(404, "there is nothing at /orders/a/b; a name is one path segment"),
    ),
    "413": _refused(
        "The body is larger than 1 MiB.",
        error(413, f"the request's body has more than {MAX_BODY_BYTES} bytes", allowed=f"{MAX_BODY_BYTES} bytes"),
    ),
    "415": _refused(
        "The body is compressed.", error(415, "the body is encoded (gzip)", allowed="a plain body: no Content-Encoding")
    ),
    "500": _refused(
        "The server failed; nothing was changed.",
        error(500, "the server failed on this request; its log has the traceback"),
    ),
    "503": _refused(
        "Busy, or the database is away; nothing was changed.",
        error(503, "shop.Cart 'ada' is busy", allowed="the same request again, later"),
        _RETRY_AFTER,
    ),
}
WITH_A_TOKEN = {
    "401": _refused(
        "No token that is known here.",
        error(401, "no bearer token that is known here", allowed="the header ..."),
        _CHALLENGE,
    ),
    "403": _refused(
        "The token lacks the scope, or is for other names, persons or channels.",
        error(403, "this token does not have the scope orders:write", allowed=["orders:read"]),
    ),
    "422": _refused(
        "A value is refused.", error(422, "the name has 600 characters", code="invalid_name", allowed="1 to 512")
    ),
    "429": _refused(
        "The token or the address sends too many requests (`too_many_requests`), or the object is full (`full`).",
        error(429, "this token was used too often", code="too_many_requests", allowed="the same request after 1 s"),
        _RETRY_AFTER,
    ),
}


def complete(schema: Any, tags: dict[str, str]) -> Any:
    """Fill ninja's description in with what applies to all routes: how each refuses, what a name is. Returns it."""
    for operations in schema["paths"].values():
        for operation in operations.values():
            _fill_in(operation)
    schema["components"].setdefault("schemas", {})["Error"] = ERROR
    schema["tags"] = [{"name": name, "description": text} for name, text in tags.items()]
    return schema


def _fill_in(operation: dict[str, Any]) -> None:
    responses = ANYWHERE | {str(status): response for status, response in operation["responses"].items()}
    if operation.get("security"):
        responses |= ANYWHERE | WITH_A_TOKEN  # one form for all, whatever a route calls it
    operation["responses"] = dict(sorted(responses.items()))
    for parameter in operation["parameters"]:
        if (parameter["in"], parameter["name"]) == ("path", "name"):
            parameter["schema"] = {**parameter["schema"], **NAME}
            parameter["description"] = "The object's name: any text of 1 to 512 characters, percent-encoded."
