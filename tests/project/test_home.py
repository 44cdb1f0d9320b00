"""The first page: what a visitor of the printed address, and admin's "View site", meet."""

from __future__ import annotations

import logging
import re

import pytest
from django.test import Client

from project.csp import POLICY

HREF = re.compile(r'href="([^"]+)"')


def status(client: Client, path: str) -> int:
    """The status of an answer, which may be a file that is read to its end."""
    answer = client.get(path)
    _ = list(answer)
    return answer.status_code


@pytest.mark.django_db
def test_each_link_leads_somewhere(client: Client, admin_client: Client) -> None:
    """The page needs no login; a login or a page is behind each of its links, and its styles are served."""
    page = client.get("/")
    assert (page.status_code, page["Content-Security-Policy"]) == (200, POLICY)
    links = HREF.findall(page.content.decode())
    assert {"/admin/", "/openapi.json", "/health", "/favicon.ico"} <= set(links)
    assert {link: status(admin_client, link) for link in links} == dict.fromkeys(links, 200)


def test_it_asks_no_database(client: Client) -> None:
    """It is there while nothing else is, to be read only."""
    assert [client.head("/").status_code, client.post("/").status_code] == [200, 405]


def test_a_browsers_first_visit_logs_no_warning(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """The page and the icon that browsers ask for by themselves are there."""
    with caplog.at_level(logging.WARNING):
        for path in ("/", "/favicon.ico"):
            assert status(client, path) == 200
    assert caplog.records == []
