"""The WSGI application, for any web server but ``up`` and ``runserver``, which make their own."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

from project.content_types import ContentTypeJudged
from project.environment import refuse_debugging_by_default

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

refuse_debugging_by_default()
application = ContentTypeJudged(get_wsgi_application())
