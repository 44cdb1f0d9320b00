"""The ASGI application, for servers that speak it: Django's, with a short way for the hot request."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

_django = get_asgi_application()

from project.hot import HotPath  # noqa: E402  its models want Django set up

application = HotPath(_django)
