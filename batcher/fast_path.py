"""The fast path for ``POST /batcher/<name>``: past Django's middleware and router, in batches.

Concurrent requests for the same batcher share one transaction: under ASGI they are collected here, without a thread for
each, and added in one turn by one call; under WSGI each has its thread, and these combine. Whatever is
not plain (see ``plain_requests``), and a body that is not valid, takes Django's way, which answers it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from http.client import responses
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import quote

from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.db import close_old_connections, connections, reset_queries
from django.http import HttpRequest
from ninja import NinjaAPI
from ninja.errors import HttpError

from batcher.api import item_in
from batcher.models import Batcher, QueueFull, Receipt
from batcher.plain_requests import Plain, plain_request
from durable_objects import InvalidInput
from durable_objects.conf import engine
from durable_objects.http import auth
from durable_objects.http.asgi_body_limit import (
    Application,
    Receive,
    Scope,
    Send,
    meta_of,
    read_whole,
    replayed,
)
from durable_objects.http.conf import http
from durable_objects.http.errors import in_our_form
from durable_objects.http.rate_limit import rate_of

WsgiApplication = Callable[[dict[str, Any], Any], Iterable[bytes]]

#: Batchers that are added to at the same time by one process; requests for one of them need no more than one thread.
THREADS = 8
#: Items that are added by one transaction at most: each may be as long as a body.
MOST_AT_ONCE = 64
#: How long a transaction waits at most for the next items of those who were answered by the one before.
SECONDS_TO_GATHER = 0.005


class FastPath:
    """An ASGI application around Django's that answers plain ``POST <prefix><name>`` itself.

    ``api`` is the interface that the routes of batchers are mounted in, ``prefix`` the path that they are at, from the
    root of the site. What goes this way is not shown to middleware, and sends no ``request_started`` or
    ``request_finished``; what the routes were mounted with (a guard or a throttle of one's own) has it go Django's way.
    """

    def __init__(self, django: Application, api: NinjaAPI, prefix: str = "/batcher/") -> None:
        self._django, self._api, self._prefix = django, api, prefix
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="fast-path")
        #: By the name of their batcher; while one is in here, a task works for it.
        self._lines: dict[str, _Line] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_near = scope["type"] == "http" and scope["path"].startswith(self._prefix)
        plain = plain_request(_environ(scope), self._api, self._prefix) if is_near else None
        if plain is None:
            await self._django(scope, receive, send)
            return
        body = await read_whole(receive)
        if body is None:
            return  # the client has gone
        try:
            item = _item(plain, body)
        except ValueError:
            await self._django(scope, replayed(body, receive), send)
            return
        try:
            answer = _accepted(plain, await self._add(plain, item))
        except Exception as error:  # noqa: BLE001  the interface has an answer for each
            answer = _refused(self._api, ASGIRequest(dict(scope), BytesIO(body)), error)
            plain.record(answer.status)
        await _answer(send, answer)

    async def _add(self, plain: Plain, item: Any) -> Receipt:
        loop = asyncio.get_running_loop()
        added: asyncio.Future[Receipt | BaseException] = loop.create_future()
        line = self._lines.get(plain.name)
        if line is None:
            self._lines[plain.name] = line = _Line()
            loop.create_task(self._work(plain.name, line))  # noqa: RUF006  kept by the futures that it ends
        line.join(_Waiting(item, copy_context(), plain, added))
        answer = await added
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def _work(self, name: str, line: _Line) -> None:
        """Add what waits, again and again until nothing does. All that still wait get whatever ends it."""
        loop = asyncio.get_running_loop()
        waiting: list[_Waiting] = []
        try:
            while some := line.take():
                if waiting := [one for one in some if not one.added.done()]:  # else the request was cut off
                    _tell(waiting, await loop.run_in_executor(self._threads, _add_all, name, waiting))
                    await line.gather(len(waiting))
        except BaseException as error:
            left = [*waiting, *line.waiting]
            _tell(left, [error] * len(left))
            if not isinstance(error, Exception):
                raise
        finally:
            del self._lines[name]


class _Line:
    """Who waits for an item to be added to a batcher."""

    def __init__(self) -> None:
        self.waiting: list[_Waiting] = []
        self._expected, self._has_expected = 0, asyncio.Event()

    def join(self, one: _Waiting) -> None:
        """Wait with the others."""
        self.waiting.append(one)
        if len(self.waiting) >= self._expected:
            self._has_expected.set()

    def take(self) -> list[_Waiting]:
        """Return those whose items the next transaction adds; they have left the line."""
        some, self.waiting = self.waiting[:MOST_AT_ONCE], self.waiting[MOST_AT_ONCE:]
        return some

    async def gather(self, answered: int) -> None:
        """Wait until as many have come as were just answered, beside those who wait already: they send their next items
        at nearly the same time, and the first of them would have a transaction to itself.
        """
        self._expected = min(len(self.waiting) + answered, MOST_AT_ONCE)
        if len(self.waiting) < self._expected:
            self._has_expected.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(SECONDS_TO_GATHER):
                    await self._has_expected.wait()


def _tell(waiting: Sequence[_Waiting], answers: Sequence[Receipt | BaseException]) -> None:
    for one, answer in zip(waiting, answers, strict=True):
        if not one.added.done():  # else its client has gone
            one.added.set_result(answer)


def _add_all(name: str, waiting: Sequence[_Waiting]) -> list[Receipt | Exception]:
    """Return the receipt of each item, or why it was not added: of all in a turn, by one call. Where that is refused,
    each is judged by itself. What was added is in the audit log then, whether or not somebody still waits for it.
    """
    _begin()
    try:
        found = _added(name, [waiting])
        if len(waiting) > 1 and isinstance(found[0], (InvalidInput, QueueFull)):
            found = _added(name, [[one] for one in waiting])
        added = Counter(one.plain for one, answer in zip(waiting, found, strict=True) if isinstance(answer, Receipt))
        for plain, times in added.items():
            plain.record(200, times=times)
        return found
    finally:
        _end()


def _added(name: str, groups: Sequence[Sequence[_Waiting]]) -> list[Receipt | Exception]:
    """Add these, those of a group by one call, in the context of its first; return what ``_add_all`` does."""
    answers = Batcher.objects.call_each(name, [partial(_add, group) for group in groups])
    found: list[Receipt | Exception] = []
    for group, answer in zip(groups, answers, strict=True):
        found += answer if isinstance(answer, list) else [answer] * len(group)
    return found


def _add(group: Sequence[_Waiting], batcher: Batcher) -> list[Receipt]:
    return group[0].context.run(batcher.submit_all, [one.item for one in group])


def _end() -> None:
    """Do for a thread of ours what Django does at the end of a request; the thread stays, and so may its connection to
    the engine's database: CONN_MAX_AGE is for requests. One of a pool goes back, for requests to have it.
    """
    connection = connections[engine.DATABASE]
    if not connection.settings_dict["OPTIONS"].get("pool"):
        connection.close_at = None
    close_old_connections()


class WsgiFastPath:
    """The same under WSGI: a WSGI application around Django's, which adds in the thread that the request has."""

    def __init__(self, django: WsgiApplication, api: NinjaAPI, prefix: str = "/batcher/") -> None:
        self._django, self._api, self._prefix = django, api, prefix

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        plain = plain_request(environ, self._api, self._prefix)
        if plain is None:
            return self._django(environ, start_response)
        try:
            body = environ["wsgi.input"].read(plain.length)
        except OSError:  # it broke off, as whoever reads on sees again
            return self._django(environ, start_response)
        environ = {**environ, "wsgi.input": BytesIO(body)}
        try:
            item = _item(plain, body)
        except ValueError:
            return self._django(environ, start_response)
        try:
            _begin()
            answer = _accepted(plain, Batcher.objects.get_by_name(plain.name).submit(item))
        except Exception as error:  # noqa: BLE001  the interface has an answer for each
            answer = _refused(self._api, WSGIRequest(environ), error)
        finally:
            close_old_connections()
        plain.record(answer.status)
        start_response(f"{answer.status} {responses.get(answer.status, 'Unknown Status Code')}", answer.headers)
        return [answer.body]


class _Answer(NamedTuple):
    """What a request is answered with."""

    status: int
    body: bytes
    headers: list[tuple[str, str]]


class _Waiting(NamedTuple):
    """An item that is to be added, in the context of its request (its trace, its log), and who waits for that."""

    item: Any
    context: Context
    plain: Plain
    added: asyncio.Future[Receipt | BaseException]


def _begin() -> None:
    """Do for the thread's connections what Django does at the start of a request."""
    close_old_connections()
    reset_queries()


def _environ(scope: Scope) -> dict[str, str]:
    """Return a request under ASGI as WSGI has it."""
    raw_path: bytes | None = scope.get("raw_path")
    return {
        **meta_of(scope),
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope.get("root_path", ""),
        "PATH_INFO": scope["path"],
        "REQUEST_URI": "" if raw_path is None else raw_path.decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "wsgi.url_scheme": scope.get("scheme", ""),
    }


def _item(plain: Plain, body: bytes) -> Any:
    """Return the item in a valid body, and count the request, which Django's way then does not. Raises ``ValueError``
    for any other body, one that broke off, and above the rate: Django's way answers these, and counts them.
    """
    if len(body) != plain.length:
        raise ValueError(f"{len(body)} bytes came")
    try:
        item = item_in(body, plain.media_type)
    except (HttpError, RecursionError) as error:
        raise ValueError from error
    if auth.requests.take(plain.principal.id, rate_of(http.RATE)):
        raise ValueError("too many requests")
    return item


def _accepted(plain: Plain, receipt: Receipt) -> _Answer:
    """Return the answer to a request whose item was added."""
    location = f"{quote(plain.path)}/items/{receipt.item}"
    headers = [("Content-Type", "application/json; charset=utf-8"), ("Location", location)]
    return _sized(200, b'{"queued": %d}' % (receipt.position or 0), headers)


def _refused(api: NinjaAPI, request: HttpRequest, error: Exception) -> _Answer:
    """Return the interface's answer to an error."""
    response = in_our_form(request, api.on_exception(request, error))
    return _sized(response.status_code, response.content, response.items())


def _sized(status: int, body: bytes, headers: Iterable[tuple[str, str]]) -> _Answer:
    return _Answer(status, body, [*headers, ("Content-Length", str(len(body)))])


async def _answer(send: Send, answer: _Answer) -> None:
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": answer.body})
