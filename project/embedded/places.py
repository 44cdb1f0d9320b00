"""How many requests Django answers at a time under ASGI, where each has a thread of its own."""

from __future__ import annotations

import asyncio

from durable_objects.http.asgi_body_limit import Application, Receive, Scope, Send, read_whole, replayed


class AsgiPlaces:
    """An ASGI application around Django's that lets in ``most`` requests at a time; the others wait.

    A request takes its place when its body is there, so that slow clients take none. To stand inside of
    ``AsgiBodyLimit``, which bounds what is kept of a body.
    """

    def __init__(self, django: Application, most: int) -> None:
        self._django, self._places = django, asyncio.Semaphore(most)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._django(scope, receive, send)
            return
        body = await read_whole(receive)
        if body is None:
            return  # the client has gone
        async with self._places:
            await self._django(scope, replayed(body, receive), send)
