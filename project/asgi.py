"""The ASGI application, for servers that speak it: Django's, with the fast path in front."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application
from django.db import connections

from project.environment import refuse_debugging_by_default

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

refuse_debugging_by_default()
_django = get_asgi_application()
for database in connections.settings.values():
    database["CONN_MAX_AGE"] = 0  # each request has a thread of its own here: a connection that stayed would be lost

import project.urls  # noqa: E402, F401  every page, before a server forks and before the first request
from batcher.fast_path import FastPath  # noqa: E402  models want Django set up
from durable_objects.http.asgi_body_limit import AsgiBodyLimit  # noqa: E402
from project.api import api  # noqa: E402

application = FastPath(AsgiBodyLimit(_django), api)
