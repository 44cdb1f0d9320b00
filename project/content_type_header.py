"""A Content-Type is checked_scope before Django parses it, which it does for every request, whoever sends it."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

from django.core.handlers.wsgi import WSGIHandler

from durable_objects.http_bodies import charset_of

#: In a WSGI environment or an ASGI scope: the request had a Content-Type that is refused, and why.
REFUSED = "project.content_type_refused"


class ContentTypeCheck:
    """A WSGI application around Django's, which gets a refused Content-Type as a note instead; it says so."""

    def __init__(self, django: WSGIHandler) -> None:
        self._django = django

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if problem := problem_of(environ.get("CONTENT_TYPE", "")):
            environ = {**environ, "CONTENT_TYPE": "", REFUSED: problem}
        return self._django(environ, start_response)


def checked_scope(scope: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The same for an ASGI scope: as it is, or with the note instead of the header."""
    given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"content-type"]
    problem = problem_of(",".join(given))  # as Django makes one of them
    if problem is None:
        return scope
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    return {**scope, "headers": headers, REFUSED: problem}


def problem_of(content_type: str) -> str | None:
    """What is wrong with it, None for nothing."""
    try:
        charset_of(content_type)
    except ValueError as error:
        return str(error)
    return None
