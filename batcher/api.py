"""Batchers over HTTP: items in, a look at what waits, an item's receipt, the alarm away. The API guards them."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Field, Header, Path, Schema
from ninja.errors import HttpError

from batcher.models import Batcher, ItemState
from batcher.receipts import LARGEST
from durable_objects.http.routers import ScopedRouter
from durable_objects.http_bodies import is_json, json_in, text_in
from durable_objects.validation import MAX_NAME_CHARACTERS

router = ScopedRouter(
    "batcher",
    reads="look at batchers",
    writes="add items, stop and flush batchers",
    description="Add items one by one; they are delivered in batches. Scopes `batcher:read` (GET), `batcher:write`.",
)

#: For the description only, not checked here: a name that the engine refuses gets the engine's own error.
_NAME: dict[str, Any] = {"minLength": 1, "maxLength": MAX_NAME_CHARACTERS}
Name = Annotated[
    str,
    Path(description="The batcher's name: one path segment.", example="orders", **_NAME),
]
Key = Annotated[str | None, Header(alias="Idempotency-Key", description="A repeated key is the same item.")]
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
    """What became of one item; ``why`` is the upstream's answer for it, ``position`` its place in the queue."""

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

    With an ``Idempotency-Key`` a repetition within a day adds nothing: the answer has the same ``Location``, and how
    many items wait now; 422 if the key was used with another item.

    ``Location`` is where the item's receipt is. 429 when the batcher has as many undelivered items as its
    ``max_queued`` allows: ``Retry-After`` says when to try again.
    """
    batcher = Batcher.objects.get_by_name(name)
    receipt = batcher.submit(item_of(request), key=idempotency_key)
    response["Location"] = f"{quote(request.path)}/items/{receipt.item}"
    return {"queued": receipt.position if idempotency_key is None else batcher.queued()}


@router.get("/{name}", response={200: State, _REFUSALS: Refused})
def show(request: HttpRequest, name: Name) -> dict[str, Any]:
    """Return how many items wait and when the batcher acts next; zeros for one that was never used."""
    return state_of(Batcher.objects.get_by_name(name))


@router.get("/{name}/items/{item}", response={200: ItemReceipt, _REFUSALS: Refused})
def receipt(request: HttpRequest, name: Name, item: Number) -> dict[str, Any]:
    """Return what became of an item: it waits, is in an open or set-aside batch, is delivered, or failed and why.

    404 for a number that was never given, or is no longer on record.
    """
    found = Batcher.objects.get_by_name(name).receipt(item)
    if found.state is ItemState.UNKNOWN:
        raise Http404(f"batcher {name!r} has no record of item {item}: {found.why}")
    return asdict(found)


@router.delete("/{name}/alarm", response={200: State, _REFUSALS: Refused})
def cancel_alarm(request: HttpRequest, name: Name) -> dict[str, Any]:
    """Pause until the next item is added: the waiting items are kept."""
    batcher = Batcher.objects.get_by_name(name)
    batcher.cancel_alarm()
    return state_of(batcher)


def state_of(batcher: Batcher) -> dict[str, Any]:
    """Return the body of an answer about one batcher."""
    return {"queued": batcher.queued(), "alarm": batcher.get_alarm_time()}


def item_of(request: HttpRequest) -> Any:
    """Read the item from a request's body; see ``item_in``."""
    return item_in(request.body, request.headers.get("Content-Type") or request.content_type or "")


def item_in(body: bytes, content_type: str) -> Any:
    """Read the item from a body. Raises ``HttpError`` 400 if it is not the JSON or text that it claims to be."""
    try:
        return json_in(body, content_type) if is_json(content_type) else text_in(body, content_type)
    except ValueError as error:
        raise HttpError(400, str(error)) from None
