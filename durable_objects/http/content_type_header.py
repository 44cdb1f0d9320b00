"""Checks the Content-Type of requests for the interfaces before Django parses it."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

from django.core.handlers.wsgi import WSGIHandler

from durable_objects.http.mounted import Place, path_info_of, place_of
from durable_objects.http_bodies import charset_of

#: In a WSGI environment or an ASGI scope: the request had a Content-Type that is refused, and why.
REFUSED = "durable_objects.http.content_type_refused"


class ContentTypeCheck:
    """A WSGI application around Django's that replaces a refused Content-Type by a note, for ``ErrorsAsJson`` to
    answer. Requests for other paths than the interfaces' pass as they are.
    """

    def __init__(self, django: WSGIHandler) -> None:
        self._django = django

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        problem = problem_of(environ.get("CONTENT_TYPE", ""))
        if problem and place_of(_decoded(environ.get("PATH_INFO", ""))) is not Place.ELSEWHERE:
            environ = {**environ, "CONTENT_TYPE": "", REFUSED: problem}
        return self._django(environ, start_response)


def checked_scope(scope: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return an ASGI scope with a refused Content-Type replaced by the note; any other scope as it is."""
    given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"content-type"]
    problem = problem_of(",".join(given))  # as Django makes one of them
    if problem is None or place_of(path_info_of(scope)) is Place.ELSEWHERE:
        return scope
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    return {**scope, "headers": headers, REFUSED: problem}


def problem_of(content_type: str) -> str | None:
    """Return what is wrong with a Content-Type, None for nothing."""
    try:
        charset_of(content_type)
    except ValueError as error:
        return str(error)
    return None


def _decoded(path_info: str) -> str:
    """Return the path of a WSGI environment, whose text is the bytes of the path."""
    return path_info.encode("latin-1").decode(errors="replace")
