"""How much of a body is read under ASGI, where Django reads it before it looks at anything else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from asgiref.sync import sync_to_async
from django.db import DatabaseError, connections

from durable_objects.http import auth, tokens
from durable_objects.http.body_limit import MAX_BODY_BYTES, WITHHELD, declared_length
from durable_objects.http.client_address import address_of
from durable_objects.http.content_type_header import checked_scope
from durable_objects.http.mounted import Place, path_info_of, place_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]

#: What a query may hold as it is: printable ASCII.
_SEEN = "".join(map(chr, range(33, 127)))


class AsgiBodyLimit:
    """An ASGI application around Django's: a body that is refused anyway is left unread, others are read up to the
    limit.

    So nothing is read from a client without a known token, as under WSGI, and nothing is written to disk. Django
    answers a refused request, without the body. Requests for other paths than the interfaces' pass as they are.
    """

    def __init__(self, django: Application) -> None:
        self._django = django

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or place_of(path_info_of(scope)) is Place.ELSEWHERE:
            await self._django(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        has_body = b"content-length" in headers or b"transfer-encoding" in headers
        is_withheld = has_body and not await _is_wanted(scope, headers)
        body = replayed(b"", _never) if is_withheld else Bounded(receive, MAX_BODY_BYTES + 1)
        # Raw bytes beyond ASCII, of which WSGI makes text and Django's ASGI a bare 400.
        query = quote(scope["query_string"], safe=_SEEN).encode()
        await self._django({**checked_scope(scope), "query_string": query, WITHHELD: is_withheld}, body, send)


class Bounded:
    """The messages of a body, up to ``most`` bytes; what comes after them is dropped, until the client disconnects."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._left = receive, most
        self._ended = False

    async def __call__(self) -> Message:
        """Return the next message."""
        while self._ended:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return message
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        body = message.get("body", b"")[: self._left]
        self._left -= len(body)
        self._ended = self._left <= 0 or not message.get("more_body", False)
        return {"type": "http.request", "body": body, "more_body": not self._ended}


async def read_whole(receive: Receive) -> bytes | None:
    """Return the whole body; None when the client disconnected before its end."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a receive callable that yields the body again, for another application, and then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


async def _never() -> Message:
    """Wait for ever: to ask the server for a message is to invite the body of who expects to be (100-continue)."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def _is_wanted(scope: Scope, headers: dict[bytes, str]) -> bool:
    """Return whether anything would read the body."""
    try:
        length = declared_length(headers.get(b"content-length", ""))
    except ValueError:
        return False
    if length is not None and length > MAX_BODY_BYTES:
        return False
    if place_of(path_info_of(scope)) is Place.PAGES:
        return True
    header = headers.get(b"authorization", "")
    if not tokens.token_in(header):
        return False
    return tokens.trusted(header) is not None or await _is_known(header, scope)


def meta_of(scope: Scope) -> dict[str, str]:
    """Return the headers of a request and where it comes from, as they will be in ``HttpRequest.META``."""
    meta = {"REMOTE_ADDR": (scope.get("client") or ("",))[0]}
    for name, value in scope["headers"]:
        if b"_" not in name:  # else it might be taken for another
            key, text = _key_of(name), value.decode("latin-1")
            meta[key] = f"{meta[key]},{text}" if key in meta else text
    return meta


@lru_cache(maxsize=256)
def _key_of(header: bytes) -> str:
    key = header.decode("latin-1").upper().replace("-", "_")
    return key if key in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{key}"


@sync_to_async(thread_sensitive=False)
def _is_known(header: str, scope: Scope) -> bool:
    try:
        return auth.is_known(header, address_of(meta_of(scope)))
    except DatabaseError:
        return False
    finally:
        connections.close_all()  # the thread is anybody's
