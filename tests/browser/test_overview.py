"""The admin site in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from batcher.models import Batcher

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_the_admin_index_leads_to_a_batcher(admin: Page, screenshot: Callable[[str], None]) -> None:
    """From the index two clicks lead to the page of a batcher, which says how many items wait."""
    Batcher.objects.get_by_name("orders").add_item({"id": 1})
    screenshot("index")
    admin.get_by_role("link", name="Batchers", exact=True).first.click()
    admin.get_by_role("link", name="orders").click()
    screenshot("batcher")
    expect(admin.locator("#content")).to_contain_text("orders")
