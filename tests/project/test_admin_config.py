"""Where the admin's modules are imported: by the pages and by the checks, not by a worker."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture.sources import ROOT

ADMIN = {"durable_objects.admin", "batcher.admin", "cleaner.admin", "reminders.admin", "project.admin"}
OF_PAGES = ADMIN | {"project.urls", "project.api", "ninja", "pydantic", "jinja2"}


def imported_by(code: str) -> set[str]:
    """Modules that a process has after this code."""
    code = f"import os, sys; os.environ['DEBUG'] = '1'; {code}; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return {*done.stdout.split()}


def test_a_worker_imports_no_page() -> None:
    """Nothing that only pages need is in a worker's memory: no admin, no HTTP interface, nothing they are made with."""
    assert OF_PAGES & imported_by("from project.celery import app; app.loader.init_worker()") == set()


def test_the_checks_look_at_the_classes_of_the_admin() -> None:
    """The checks of the admin import its classes, whichever check comes first."""
    alone = "from django.core.checks import run_checks; run_checks(tags=['admin'])"
    assert imported_by(f"import django; django.setup(); {alone}") >= ADMIN


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
def test_a_web_server_has_its_pages_before_the_first_request(server: str) -> None:
    """Whoever comes first does not wait for them, and processes that are forked share them."""
    assert imported_by(f"import project.{server}") >= OF_PAGES
