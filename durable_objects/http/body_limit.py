"""How much of a request's body is read: at most 1 MiB, into memory, and not before something reads it."""

from __future__ import annotations

import contextlib
import socket
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, UnreadablePostError

#: The largest body of a request, in bytes.
MAX_BODY_BYTES = 1024 * 1024
#: In an ASGI scope: the body was left unread, since it came without a known token.
WITHHELD = "durable_objects.http.body_withheld"
#: More digits than any length that could be meant.
_DIGITS = 20


class BodyWithheld(Exception):
    """The body was left unread because the token was not known then, and it is now: the client has to send it again."""


def most_bytes() -> int:
    """Return how large a body may be, in bytes: the limit here, or Django's where that is lower."""
    djangos: Any = settings.DATA_UPLOAD_MAX_MEMORY_SIZE  # None: no limit, which the types of this site do not know
    return MAX_BODY_BYTES if djangos is None else min(MAX_BODY_BYTES, djangos)


def declared_length(given: str) -> int | None:
    """Return the length that a Content-Length gives, None for an empty one. Raises ``ValueError`` for what is none."""
    if not given:
        return None
    if not (given.isascii() and given.isdigit()):
        raise ValueError(f"Content-Length is {given[:40]!r}")
    return int(given) if len(given) <= _DIGITS else 10**_DIGITS


def bound_body(request: HttpRequest) -> None:
    """Give the request a body that is read when it is asked for, and never beyond the limit.

    Raises ``RequestDataTooBig`` when its Content-Length says that it is larger, ``UnreadablePostError`` when that is no
    length; nothing is read then. What is wrong with the body itself is raised by whoever reads it, and kept as
    ``problem_of(request)``.

    Django takes a body without Content-Length (chunked) for empty; a server that ends such a stream by itself says so
    (``wsgi.input_terminated``).
    """
    try:
        length = declared_length(request.META.get("CONTENT_LENGTH") or "")
    except ValueError as error:
        raise UnreadablePostError(str(error)) from None
    if length is not None and length > MAX_BODY_BYTES:
        raise _too_large()
    source = request.META.get("wsgi.input")
    if getattr(request, "scope", {}).get(WITHHELD):
        source = Withheld()
    elif source is None:
        source = (
            request._stream
        )  # ASGI: what arrived, of which durable_objects.http.asgi_body_limit took no more than the limit and one byte
    elif length is None and not request.META.get("wsgi.input_terminated"):
        return
    setattr(request, "_stream", BoundedBody(source, length))  # Django has no public way to give a request its stream


def problem_of(request: HttpRequest) -> Exception | None:
    """Return what was wrong with the part of the body that was read; None: nothing."""
    stream = getattr(request, "_stream", None)
    return stream.problem if isinstance(stream, BoundedBody) else None


def stop_reading(request: HttpRequest) -> None:
    """Tell the server not to wait for a body that nobody has read, where it would: gunicorn drains it in the very
    thread that answers, so that a few clients who send a byte a second would hold all threads.
    """
    stream = getattr(request, "_stream", None)
    was_read = hasattr(request, "_body") or (isinstance(stream, BoundedBody) and stream.was_read)  # whole, or in parts
    has_body = request.META.get("CONTENT_LENGTH", "") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in request.META
    connection = request.META.get("gunicorn.socket")
    if has_body and not was_read and type(connection) is socket.socket:  # not under TLS, which ends both directions
        with contextlib.suppress(OSError):  # the client has gone
            connection.shutdown(socket.SHUT_RD)


class Withheld:
    """A body that was left unread."""

    def read(self, size: int) -> bytes:
        """Raise ``BodyWithheld``: an empty body would be taken for what was sent."""
        raise BodyWithheld


class BoundedBody:
    """A stream that reads its source, to its end, when it is first read itself.

    Raises ``RequestDataTooBig`` beyond the limit, ``UnreadablePostError`` when the body breaks off or is malformed.
    """

    def __init__(self, source: Any, length: int | None) -> None:
        self.problem: Exception | None = None
        self._source, self._length = source, length
        self._body: BytesIO | None = None

    def read(self, size: int | None = None) -> bytes:
        """Read as any stream does."""
        return self._whole().read(size)

    def readline(self, size: int | None = None) -> bytes:
        """Read a line as any stream does."""
        return self._whole().readline(size)

    def seekable(self) -> bool:
        """Return False: Django 6.1 measures what it can seek in, and this is bounded already."""
        return False

    def close(self) -> None:
        """Close the source, where it can be."""
        getattr(self._source, "close", lambda: None)()

    @property
    def was_read(self) -> bool:
        """Whether something has read it."""
        return self._body is not None or self.problem is not None

    def _whole(self) -> BytesIO:
        if self.problem is not None:
            raise self.problem
        if self._body is None:
            try:
                self._body = BytesIO(self._read())
            except (RequestDataTooBig, UnreadablePostError) as problem:
                self.problem = problem
                raise
        return self._body

    def _read(self) -> bytes:
        try:
            body: bytes = self._source.read(MAX_BODY_BYTES + 1 if self._length is None else self._length)
        except BodyWithheld:
            raise
        except OSError as error:
            raise UnreadablePostError(f"the body broke off: {error}") from error
        except Exception as error:  # each server has an error of its own for chunks that are none
            raise UnreadablePostError(f"the body is not valid chunked encoding ({type(error).__name__})") from error
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
        if self._length is not None and len(body) < self._length:
            raise UnreadablePostError(f"the body broke off: {len(body)} of {self._length} bytes came")
        return body


def _too_large() -> RequestDataTooBig:
    return RequestDataTooBig(f"the request's body has more than {MAX_BODY_BYTES} bytes")
