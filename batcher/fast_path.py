"""The fast path for ``POST /batcher/<name>`` under ASGI: past Django's middleware and router, in batches.

Concurrent requests for the same batcher share one transaction: they are collected here, without a thread for each, and
added in one turn (``call_each``). Whatever is not plain (another path, an unknown token, a body that is too
large, compressed or not valid) takes Django's way, which answers it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from operator import methodcaller
from typing import Any, NamedTuple
from urllib.parse import quote

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.db import connection
from django.http.request import split_domain_port, validate_host
from ninja import NinjaAPI
from ninja.errors import HttpError

from batcher.api import item_in
from batcher.models import Batcher, Receipt
from durable_objects.http import audit, auth, tokens
from durable_objects.http.asgi_body_limit import Application, Receive, Scope, Send, meta_of
from durable_objects.http.body_limit import MAX_BODY_BYTES, declared_length
from durable_objects.http.client_address import address_of
from durable_objects.http.conf import http
from durable_objects.http.rate_limit import rate_of
from durable_objects.http.tokens import Principal

#: Headers that only Django's way handles.
NOT_PLAIN = {b"content-encoding", b"transfer-encoding", b"idempotency-key"}
#: What Django allows where DEBUG is set and nothing else is.
LOCAL_HOSTS = [".localhost", "127.0.0.1", "[::1]"]
#: Batchers that are added to at the same time by one process; requests for one of them need no more than one thread.
THREADS = 8


class FastPath:
    """An ASGI application around Django's that answers plain ``POST <prefix><name>`` itself.

    ``api`` is the interface that the routes of batchers are mounted in, ``prefix`` the path that they are at, from the
    root of the site. Middleware of the project's own is not asked about what goes this way.
    """

    def __init__(self, django: Application, api: NinjaAPI, prefix: str = "/batcher/") -> None:
        self._django, self._api, self._prefix = django, api, prefix
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="fast-path")
        #: Items that wait to be added, by batcher; while a name is in here, a thread works for it.
        self._lines: dict[str, list[_Waiting]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        plain = _plain(scope, self._prefix)
        if plain is None:
            await self._django(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            return  # the client has gone
        try:
            item = _item(scope, body)
            _take_turn(plain.principal)
        except ValueError:
            await self._django(scope, _replay(body, receive), send)
            return
        try:
            receipt = await self._add(plain, item)
        except Exception as error:  # noqa: BLE001  the interface has an answer for each
            response = self._api.on_exception(ASGIRequest(dict(scope), BytesIO(body)), error)
            await _answer(send, response.status_code, response.content, response.items())
            audit.record(plain.principal, "POST", scope["path"], response.status_code, plain.address)
        else:
            headers = [
                ("Content-Type", "application/json; charset=utf-8"),
                ("Location", f"{quote(scope['path'])}/items/{receipt.item}"),
            ]
            await _answer(send, 200, b'{"queued": %d}' % (receipt.position or 0), headers)

    async def _add(self, plain: _Plain, item: Any) -> Receipt:
        loop = asyncio.get_running_loop()
        added: asyncio.Future[Receipt] = loop.create_future()
        idle = plain.name not in self._lines
        self._lines.setdefault(plain.name, []).append(_Waiting(item, plain, added))
        if idle:
            loop.create_task(self._work(plain.name))  # noqa: RUF006  kept by the futures that it ends
        return await added

    async def _work(self, name: str) -> None:
        """Add what waits, again and again until nothing does."""
        loop = asyncio.get_running_loop()
        while self._lines[name]:
            waiting, self._lines[name] = self._lines[name], []
            answers: Sequence[Receipt | BaseException]
            try:
                answers = await loop.run_in_executor(self._threads, _add_all, name, [one.item for one in waiting])
            except BaseException as error:  # noqa: BLE001  nobody else would tell those who wait
                answers = [error for _ in waiting]
            done: Counter[tuple[Principal, str]] = Counter()
            for (_, plain, added), answer in zip(waiting, answers, strict=True):
                if isinstance(answer, BaseException):
                    if not added.done():  # else its client has gone
                        added.set_exception(answer)
                    continue
                done[plain.principal, plain.address] += 1
                if not added.done():
                    added.set_result(answer)
            for (principal, address), times in done.items():
                audit.record(principal, "POST", f"{self._prefix}{name}", 200, address, times=times)
        del self._lines[name]


def _add_all(name: str, items: list[Any]) -> list[Receipt | Exception]:
    """Return the receipt of each of these items, or why it was not added."""
    connection.close_at = None  # a thread of ours stays, and so may its connection: CONN_MAX_AGE is for requests
    connection.close_if_unusable_or_obsolete()
    return Batcher.objects.call_each(name, [methodcaller("submit", item) for item in items])


class _Plain(NamedTuple):
    """The batcher that is added to, who adds, and from where."""

    name: str
    principal: Principal
    address: str


class _Waiting(NamedTuple):
    """An item that waits to be added, and who waits for that."""

    item: Any
    plain: _Plain
    added: asyncio.Future[Receipt]


def _plain(scope: Scope, prefix: str) -> _Plain | None:
    """Return the parts of a plain request, by a client who may add, of a known, small size; None for any other."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    name = scope["path"].removeprefix(prefix)
    if name in ("", ".", "..", scope["path"]) or "/" in name or scope["query_string"] or not _is_as_sent(scope):
        return None
    headers = dict(scope["headers"])
    if len(headers) < len(scope["headers"]) or headers.keys() & NOT_PLAIN:  # of equal headers Django makes one
        return None
    if settings.SECURE_SSL_REDIRECT and not _is_secure(scope, headers):
        return None
    if _length(headers) is None or not _is_our_host(headers.get(b"host", b"").decode("latin-1")):
        return None
    principal = _let_in(headers.get(b"authorization", b"").decode("latin-1"), name)
    return None if principal is None else _Plain(name, principal, address_of(meta_of(scope)))


def _is_as_sent(scope: Scope) -> bool:
    """Return whether the path needed no decoding, so that it has one spelling."""
    path: str = scope["path"]
    return path.isascii() and "%" not in path and (scope.get("raw_path") or path.encode()) == path.encode()


def _length(headers: dict[bytes, bytes]) -> int | None:
    """Return how long the body will be; None when Content-Length is missing, not a number, or too large."""
    try:
        length = declared_length(headers.get(b"content-length", b"").decode("latin-1"))
    except ValueError:
        return None
    return length if length is not None and length <= MAX_BODY_BYTES else None


def _is_our_host(host: str) -> bool:
    """Return whether Django would accept the host as one of ours."""
    domain = split_domain_port(host)[0]
    allowed = settings.ALLOWED_HOSTS or (LOCAL_HOSTS if settings.DEBUG else [])
    return bool(domain) and validate_host(domain, allowed)


def _is_secure(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """Return whether it came by HTTPS as Django sees it, or as a trusted proxy reports it."""
    if settings.SECURE_PROXY_SSL_HEADER is None:
        return bool(scope.get("scheme") == "https")
    name, value = settings.SECURE_PROXY_SSL_HEADER
    reported = headers.get(name.removeprefix("HTTP_").replace("_", "-").lower().encode(), b"")
    return reported.decode("latin-1").partition(",")[0].strip() == value


def _let_in(authorization: str, name: str) -> Principal | None:
    """Return the holder of a bearer token that may add here, by what this process knows; None leaves the answer to
    Django's way.
    """
    principal = tokens.trusted(authorization)
    if principal is None or not principal.may("batcher:write", name):
        return None
    return principal


def _take_turn(principal: Principal) -> None:
    """Count this request, once it is known that Django's way will not count it. Raises ``ValueError`` above the rate,
    which Django's way answers.
    """
    if auth.requests.take(principal.id, rate_of(http.RATE)):
        raise ValueError


async def _read(receive: Receive) -> bytes | None:
    """Return the whole body; None when the client disconnected before its end."""
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


def _item(scope: Scope, body: bytes) -> Any:
    """Return the item in a valid body. Raises ``ValueError`` for any other, which Django's way answers."""
    media_type = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1")
    try:
        return item_in(body, media_type)
    except (HttpError, RecursionError) as error:
        raise ValueError from error


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receive callable that yields the body again, for another application."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> MutableMapping[str, Any]:
        return messages.pop() if messages else await receive()

    return replay


async def _answer(send: Send, status: int, body: bytes, headers: Iterable[tuple[str, str]]) -> None:
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    raw = [*raw, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
