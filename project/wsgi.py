"""The WSGI application, for any web server but ``up`` and ``runserver``, which make their own."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

from project.environment import refuse_debugging_by_default

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

refuse_debugging_by_default()
_django = get_wsgi_application()

import project.urls  # noqa: E402, F401  every page, before a server forks and before the first request
from batcher.fast_path import WsgiFastPath  # noqa: E402  models want Django set up
from durable_objects.http.content_type_header import ContentTypeCheck  # noqa: E402
from project.api import api  # noqa: E402

application = WsgiFastPath(ContentTypeCheck(_django), api)
