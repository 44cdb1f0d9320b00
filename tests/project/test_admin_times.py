"""Times on all pages of admin."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from tests.support.admin_addresses import addresses
from tests.support.row_of_each_model import row_of_each_model

#: Whose pages are not ours.
OF_OTHERS = ("/admin/auth/", "/admin/django_celery_beat/", "/admin/logout/")
#: As Django writes times where nobody says otherwise: "Nov. 26, 2026, 8:38 p.m."
WITHOUT_ZONE = re.compile(r"\d{4}, (?:\d{1,2}(?::\d\d)? [ap]\.m\.|noon|midnight)")


@pytest.mark.slow
@pytest.mark.django_db
def test_each_time_has_its_zone(admin_client: Client) -> None:
    """No page shows a time without its zone, and where times are, another zone can be chosen."""
    without: dict[str, str] = {}
    times = 0
    for url in addresses(row_of_each_model()):
        answer = admin_client.get(url)
        page = answer.content.decode()
        if answer.status_code != 200 or "<html" not in page or url.startswith(OF_OTHERS):
            continue
        if found := WITHOUT_ZONE.search(page):
            without[url] = found[0]
        if re.search(r"\d\d:\d\d:\d\d(?:\.\d+)? UTC", page):
            times += 1
            if "Choose another zone" not in page:
                without[url] = "no choice of zone"
    assert times > 20
    assert without == {}
