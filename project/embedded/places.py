"""How many requests Django answers at a time under ASGI, where each has a thread of its own."""

from __future__ import annotations

import asyncio

from durable_objects.http.asgi_body_limit import Application, Message, Receive, Scope, Send, read_whole, replayed

#: How much of an answer is kept for a client that reads slowly; what is more, Django has to wait with.
KEPT_BYTES = 1024 * 1024


class AsgiPlaces:
    """An ASGI application around Django's that lets in ``most`` requests at a time; the others wait.

    A request takes its place when its body is there, and leaves it when Django has answered: slow clients take none,
    unless the answer is a large one. To stand inside of ``AsgiBodyLimit``, which bounds what is kept of a body.
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
        answer = _Answer(send)
        async with self._places:
            await self._django(scope, replayed(body, receive), answer)
        await answer.send_kept()


class _Answer:
    """The messages of an answer: the first ``KEPT_BYTES`` are kept until they are to be sent, the others are sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._kept: list[Message] = []
        self._size = 0

    async def __call__(self, message: Message) -> None:
        """Keep or send it."""
        self._kept.append(message)
        self._size += len(message.get("body", b""))
        if self._size > KEPT_BYTES:
            await self.send_kept()

    async def send_kept(self) -> None:
        """Send what is kept, as fast as the client reads."""
        while self._kept:
            await self._send(self._kept.pop(0))
