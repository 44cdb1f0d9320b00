"""The project's settings for tests: the caller's environment left out, a database of its own, quick passwords.

TEST_DATABASE_URL names another database to run on; by default it is an SQLite file in a folder that goes away.
TEST_BEHIND_PGBOUNCER=1 says that it is reached through PgBouncer, TEST_UNFOLD=1 that django-unfold is around the admin.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from project.environment import VARIABLES, behind_pgbouncer, database

for _name in VARIABLES:
    os.environ.pop(_name, None)

from project.settings import *  # noqa: E402, F403  the environment has to be clean before it is read
from project.settings import BASE_DIR, INSTALLED_APPS, MIDDLEWARE  # noqa: E402  named, so that the checkers know them

#: Made and removed by tests/conftest.py, so that a checker which only reads the settings leaves nothing behind.
FOLDER = Path(tempfile.gettempdir()) / f"durable-objects-tests-{os.getpid()}"

_url = os.environ.get("TEST_DATABASE_URL") or f"sqlite:///{FOLDER / 'db.sqlite3'}"
_default = database(_url, BASE_DIR)
if os.environ.get("TEST_BEHIND_PGBOUNCER"):
    behind_pgbouncer(_default)
if _url.startswith("sqlite"):
    # A file: connections to a database in shared memory ignore each other's locks.
    # Made from the models, which takes seconds less than by migrations: those run on PostgreSQL and in the demo.
    _default["TEST"] = {"NAME": _default["NAME"] + ".test", "MIGRATE": False}
    # No test cuts the power: a commit need not wait for the disk.
    _default["OPTIONS"]["init_command"] += "; PRAGMA synchronous=OFF"
DATABASES = {"default": _default}

INSTALLED_APPS = [*INSTALLED_APPS, "durable_objects.receiver", "tests"]
if os.environ.get("TEST_UNFOLD"):  # which needs a policy of its own: it evaluates what stands in attributes
    INSTALLED_APPS = ["unfold", *INSTALLED_APPS]
    MIDDLEWARE = [each for each in MIDDLEWARE if each != "project.csp.ContentSecurityPolicy"]
CELERY_BROKER_URL = "memory://"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Served from the installed packages as they are: nothing is scanned at each client's start.
WHITENOISE_AUTOREFRESH = True
