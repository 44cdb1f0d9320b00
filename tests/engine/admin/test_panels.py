"""What an app shows of its objects, first on their page."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from durable_objects.admin import DurableObjectAdmin, Panel
from tests.models import Scripted
from tests.support.admin_pages import page_url, scripted, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin_urls")]


def test_an_app_shows_its_own_first(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel stands before the alarm, with its heading and what its template makes of the object, escaped."""

    def panels(self: DurableObjectAdmin, request: object, row: Any) -> list[Panel]:
        verbs = [{"name": "count", "label": f"<b>Count</b> {row.name}"}]
        return [Panel("Items", "admin/durable_objects/buttons.html", {"verbs": verbs})]

    monkeypatch.setattr(DurableObjectAdmin, "panels", panels)
    text = text_of(admin_client, page_url(Scripted, scripted("one").pk))
    assert text.index("Items <b>Count</b> one…") < text.index("No alarm was ever set.")
