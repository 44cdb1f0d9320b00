"""What every ASGI server of the project serves: Django's application, with the fast path in front."""

from __future__ import annotations

import gc

from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_finished
from django.db import connections

import project.urls  # noqa: F401  every page, before a server forks and before the first request
from batcher.fast_path import FastPath
from durable_objects.http.asgi_body_limit import Application, AsgiBodyLimit
from project.api import api
from project.embedded.places import AsgiPlaces


def asgi_application(most: int | None = None) -> FastPath:
    """Return the application; Django's way, it answers at most ``most`` requests at a time (None: any number).

    What is in memory by now stays there: Python's garbage collector looks at none of it again.
    """
    request_finished.connect(end_connections, sender=ASGIHandler)
    django: Application = get_asgi_application()
    application = FastPath(AsgiBodyLimit(django if most is None else AsgiPlaces(django, most)), api)
    gc.collect()
    gc.freeze()
    return application


def end_connections(**_: object) -> None:
    """Close the connections of a request's thread, which ends with the request, whatever ``CONN_MAX_AGE`` says: that is
    for the threads of workers and dispatchers, which may be in this process too.
    """
    connections.close_all()
