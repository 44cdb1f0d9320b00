"""A Django project with django-ox and nothing else. It runs in the peer's own environment, from this folder."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

_url = urlsplit(os.environ["DATABASE_URL"])

SECRET_KEY = "x" * 50
USE_TZ = True
INSTALLED_APPS = ["django_ox"]
TASKS = {"default": {"BACKEND": "django_ox.backend.OxBackend"}}
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _url.path.lstrip("/"),
        "USER": unquote(_url.username or ""),
        "PASSWORD": unquote(_url.password or ""),
        "HOST": _url.hostname or "",
        "PORT": str(_url.port or ""),
        "CONN_MAX_AGE": None,  # connections are kept, as by our workers
        "OPTIONS": {"prepare_threshold": 5},  # and statements prepared, as by ours
    }
}
