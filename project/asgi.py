"""The ASGI application, for servers that speak it. ``up``, which has one in itself, makes its own."""

from __future__ import annotations

import os

import django

from project.environment import refuse_debugging_by_default

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

refuse_debugging_by_default()
django.setup(set_prefix=False)

from project.asgi_application import asgi_application  # noqa: E402  models want Django set up

application = asgi_application()
