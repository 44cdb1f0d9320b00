"""Static files, by WhiteNoise, under ASGI as under WSGI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import FileResponse, HttpRequest
from whitenoise.middleware import WhiteNoiseMiddleware


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]  # WhiteNoise has no types
    """WhiteNoise's middleware; under ASGI a file is read piece by piece, where Django would warn and read it whole."""

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> FileResponse:
        """Return the answer with this file, or what the request asks for of it."""
        response: FileResponse = WhiteNoiseMiddleware.serve(static_file, request)
        if isinstance(request, ASGIRequest):
            response.streaming_content = _read(iter(response))
        return response


async def _read(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    next_piece = sync_to_async(lambda: next(pieces, b""))
    while piece := await next_piece():
        yield piece
