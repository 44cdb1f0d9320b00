"""The first page in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_the_first_page_fits_and_follows_the_colour_scheme(
    page: Page, live_server: LiveServer, screenshot: Callable[[str], None], scheme: str, width: int
) -> None:
    """Wide or narrow nothing is cut off; dark where the reader's system is; a link leads to admin's login."""
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(live_server.url)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 18, 18)"}[scheme]
    screenshot(f"home-{scheme}-{width}")
    page.get_by_role("link", name="Admin").click()
    expect(page.locator("#id_username")).to_be_visible()
