"""Batchers over HTTP: items in, a look at what waits, an item's receipt, the alarm away. Guarded by the project."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Field, Header, Path, Router, Schema
from ninja.errors import HttpError

from batcher.models import Batcher, ItemState
from batcher.receipts import LARGEST
from durable_objects.http_bodies import is_json, json_in, text_in
from durable_objects.validation import MAX_NAME_CHARACTERS

router = Router()

#: Told, and not checked here: a name that the engine refuses gets the engine's own error.
_NAME: dict[str, Any] = {"minLength": 1, "maxLength": MAX_NAME_CHARACTERS}
Name = Annotated[
    str,
    Path(description="The batcher's name: one path segment.", example="orders", **_NAME),
]
Key = Annotated[str | None, Header(alias="Idempotency-Key", description="The same again is the same item.")]
Number = Annotated[int, Path(ge=1, le=LARGEST, description="The item's number, as `Location` gave it.", example=17)]


class Problem(Schema):
    """What was wrong: ``code`` is for programs, ``message`` names the value, ``allowed`` what would do."""

    code: str = Field(examples=["malformed"])
    message: str = Field(examples=["the body is not JSON: Expecting value: line 1 column 1 (char 0)"])
    allowed: Any = Field(None, examples=["any JSON value"])


class Refused(Schema):
    """The body of every failed request."""

    error: Problem


class Queued(Schema):
    """How many items wait for a batch."""

    queued: int = Field(ge=0, examples=[3])


class State(Queued):
    """How many items wait, and when the batcher acts next."""

    alarm: datetime | None = Field(examples=["2030-01-31T09:00:10Z"])


class ItemReceipt(Schema):
    """What became of one item; ``why`` says what the upstream said of it, ``position`` is its place in the line."""

    item: int = Field(ge=1, examples=[17])
    state: ItemState
    position: int | None = Field(examples=[None])
    batch: uuid.UUID | None = Field(examples=["6f1c64c9-9b35-4f0e-9c0b-0f4d5a1de3a1"])
    attempt: int | None = Field(examples=[1])
    why: str = Field(examples=["422 no such sku"])
    outcome_unknown: bool


_REFUSALS = frozenset({401, 404, 422, 503})
_BODY = {
    "required": False,
    "description": "The item: any JSON value where the Content-Type says JSON, else text (UTF-8, or its charset).",
    "content": {
        "application/json": {"schema": {}, "example": {"sku": "a-1", "count": 2}},
        "text/plain": {"schema": {"type": "string"}, "example": "one line of text"},
    },
}
_LOCATION = {"description": "Where the item's receipt is.", "schema": {"type": "string"}}


@router.post(
    "/{name}",
    response={200: Queued, _REFUSALS | {400, 413, 429}: Refused},
    openapi_extra={"requestBody": _BODY, "responses": {200: {"headers": {"Location": _LOCATION}}}},
)
def add(request: HttpRequest, response: HttpResponse, name: Name, idempotency_key: Key = None) -> dict[str, Any]:
    """Add the body as one item: the value if it is JSON by its Content-Type, else its text (UTF-8, or its charset).

    With an ``Idempotency-Key`` a repetition within a day adds nothing: it is answered with the same ``Location``, and
    with how many wait now; 422 where the key came with another item.

    ``Location`` is where the item's receipt is. 429 when the batcher holds as much as its ``max_queued`` allows:
    ``Retry-After`` says when to come again.
    """
    batcher = Batcher.objects.get_by_name(name)
    receipt = batcher.submit(item_of(request), key=idempotency_key)
    response["Location"] = f"{quote(request.path)}/items/{receipt.item}"
    return {"queued": receipt.position if idempotency_key is None else batcher.queued()}


@router.get("/{name}", response={200: State, _REFUSALS: Refused})
def show(request: HttpRequest, name: Name) -> dict[str, Any]:
    """What waits and when the batcher acts next; zeros for one that was never used."""
    return state_of(Batcher.objects.get_by_name(name))


@router.get("/{name}/items/{item}", response={200: ItemReceipt, _REFUSALS: Refused})
def receipt(request: HttpRequest, name: Name, item: Number) -> dict[str, Any]:
    """What became of an item: it waits, is in a batch that is open or set aside, is delivered, or failed and why.

    404 for a number that was never given, or is no longer on record.
    """
    found = Batcher.objects.get_by_name(name).receipt(item)
    if found.state is ItemState.UNKNOWN:
        raise Http404(f"batcher {name!r} knows nothing of item {item}: {found.why}")
    return asdict(found)


@router.delete("/{name}/alarm", response={200: State, _REFUSALS: Refused})
def cancel_alarm(request: HttpRequest, name: Name) -> dict[str, Any]:
    """Stop until the next item: what waits, waits on."""
    batcher = Batcher.objects.get_by_name(name)
    batcher.cancel_alarm()
    return state_of(batcher)


def state_of(batcher: Batcher) -> dict[str, Any]:
    """The answer about one batcher."""
    return {"queued": batcher.queued(), "alarm": batcher.get_alarm_time()}


def item_of(request: HttpRequest) -> Any:
    """The item that a request's body is; see ``item_in``."""
    return item_in(request.body, request.headers.get("Content-Type") or request.content_type or "")


def item_in(body: bytes, content_type: str) -> Any:
    """The item that a body is. Raises ``HttpError`` 400 for what is not the JSON or the text that it claims to be."""
    try:
        return json_in(body, content_type) if is_json(content_type) else text_in(body, content_type)
    except ValueError as error:
        raise HttpError(400, str(error)) from None
