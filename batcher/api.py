"""Batchers over HTTP: items in, a look at what waits, the alarm away. Mounted and guarded by the project."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NoReturn

from django.http import HttpRequest
from ninja import Router, Schema
from ninja.errors import HttpError

from batcher.models import Batcher

router = Router()


class Queued(Schema):
    """How many items wait for a batch."""

    queued: int


class State(Queued):
    """How many items wait, and when the batcher acts next."""

    alarm: datetime | None


@router.post("/{name}", response=Queued)
def add(request: HttpRequest, name: str) -> dict[str, int]:
    """Add the body as one item: the value if it is JSON by its Content-Type, else its text (UTF-8)."""
    return {"queued": Batcher.objects.get_by_name(name).add_item(item_of(request))}


@router.get("/{name}", response=State)
def show(request: HttpRequest, name: str) -> dict[str, Any]:
    """What waits and when the batcher acts next; zeros for one that was never used."""
    return state_of(Batcher.objects.get_by_name(name))


@router.delete("/{name}/alarm", response=State)
def cancel_alarm(request: HttpRequest, name: str) -> dict[str, Any]:
    """Stop until the next item: what waits, waits on."""
    batcher = Batcher.objects.get_by_name(name)
    batcher.cancel_alarm()
    return state_of(batcher)


def state_of(batcher: Batcher) -> dict[str, Any]:
    """The answer about one batcher."""
    return {"queued": batcher.queued(), "alarm": batcher.get_alarm_time()}


def item_of(request: HttpRequest) -> Any:
    """The item that a body is. Raises ``HttpError`` 400 for what is not the JSON or the UTF-8 that it claims to be."""
    try:
        text = request.body.decode()
        media_type = (request.content_type or "").partition(";")[0].strip().lower()
        if media_type == "application/json" or media_type.endswith("+json"):
            return json.loads(text, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise HttpError(400, f"the body is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise HttpError(400, f"the body is not JSON: {error}") from None
    return text


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
