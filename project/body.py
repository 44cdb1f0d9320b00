"""How much of a request's body is read: at most 1 MiB, whatever the request says of itself."""

from __future__ import annotations

from io import BytesIO

from django.http import HttpRequest

#: The largest body of a request, in bytes.
MAX_BODY_BYTES = 1024 * 1024


def bounded_body(request: HttpRequest) -> bool:
    """Whether the request's body is within the limit. Reads nothing of a body whose Content-Length says that it is
    not, and of one that does not say its length (chunked) at most one byte over the limit.

    Django itself takes a body without Content-Length for empty. A server that ends such a stream by itself says so
    (``wsgi.input_terminated``); what was read here then stands in for the stream.
    """
    declared = request.META.get("CONTENT_LENGTH") or ""
    if declared:
        return not declared.isdigit() or int(declared) <= MAX_BODY_BYTES  # Django takes a malformed one for 0
    if not request.META.get("wsgi.input_terminated"):
        return True
    body: bytes = request.META["wsgi.input"].read(MAX_BODY_BYTES + 1)
    request._stream = BytesIO(body)  # Django has no public way to give a request its stream
    request._read_started = False  # type: ignore[attr-defined]  # and to say so
    return len(body) <= MAX_BODY_BYTES
