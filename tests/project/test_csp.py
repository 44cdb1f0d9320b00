"""Content-Security-Policy: every page says it, and no page needs more than it allows."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from project.csp import POLICY, WHILE_DEBUGGING
from tests.architecture.sources import ROOT, tracked_files
from tests.support.admin_addresses import addresses
from tests.support.row_of_each_model import row_of_each_model

pytestmark = pytest.mark.django_db
INLINE = re.compile(r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=|javascript:", re.IGNORECASE)
#: A tag of a template's, which may name its variables as it likes.
TAG = re.compile(r"\{%.*?%\}")


def policy_of(answer: Any) -> str | None:
    """The policy of an answer."""
    policy: str | None = answer.headers.get("Content-Security-Policy")
    return policy


@pytest.mark.parametrize(
    "path",
    ["/admin/", "/admin/batcher/batcher/", "/admin/batcher/batcher/999/change/", "/admin/nowhere/", "/remind/x/y"],
)
@pytest.mark.parametrize("logged_in", [True, False])
def test_every_page_says_the_policy(path: str, logged_in: bool, admin_client: Client) -> None:
    """Pages, questions to log in and errors for people all carry it."""
    answer = (admin_client if logged_in else Client()).get(path, follow=True)
    assert answer["Content-Type"].startswith("text/html")
    assert policy_of(answer) == POLICY


def test_only_pages_about_errors_are_looser_while_debugging(settings: Settings, admin_client: Client) -> None:
    """Where DEBUG is on Django's own pages about an error work; all others keep the policy."""
    settings.DEBUG = True
    assert policy_of(admin_client.get("/admin/")) == POLICY
    assert policy_of(admin_client.get("/admin/nowhere/")) == WHILE_DEBUGGING
    assert "script-src 'unsafe-inline'" in WHILE_DEBUGGING


def test_no_template_needs_more() -> None:
    """No template holds a script, a style or a handler of its own (but for the mail, which is no page of ours)."""
    templates = [path for path in tracked_files() if path.suffix == ".html" and not path.name.startswith("email")]
    assert len(templates) > 10
    found = {
        path.relative_to(ROOT).as_posix(): INLINE.findall(TAG.sub("", path.read_text("utf-8"))) for path in templates
    }
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.slow
def test_no_page_of_admin_needs_more(admin_client: Client) -> None:
    """Nor does any page of a registered class, whoever wrote its template."""
    pages = {url: admin_client.get(url) for url in addresses(row_of_each_model())}
    found = {url: INLINE.findall(page.content.decode()) for url, page in pages.items() if page.status_code == 200}
    assert len(found) > 50
    assert {url: what for url, what in found.items() if what} == {}


def test_what_is_no_page_says_none(client: Client) -> None:
    """Answers of the interface, which no browser shows, carry no policy."""
    assert policy_of(client.get("/openapi.json")) is None
