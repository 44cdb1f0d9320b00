"""The WSGI application, for any web server but ``up`` and ``runserver``, which make their own."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

from durable_objects.http.content_type_header import ContentTypeCheck
from project.environment import refuse_debugging_by_default

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

refuse_debugging_by_default()
application = ContentTypeCheck(get_wsgi_application())
