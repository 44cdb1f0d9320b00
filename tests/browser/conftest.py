"""A real browser (Debian's chromium, driven by Playwright) on a live server of this test's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

#: As few doors to the outside as a browser can be talked into; a test loads pages of its own server only.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "browser"
#: Makes ada, for a site in a process of its own.
SUPERUSER = f"""
from django.contrib.auth.models import User
User.objects.create_superuser("ada", password={PASSWORD!r})
"""
#: What a page may take to load or to change, in milliseconds, on a machine that has much else to do.
WITHIN = 30_000
WIDE: ViewportSize = {"width": 1440, "height": 900}
NARROW: ViewportSize = {"width": 390, "height": 844}
#: How a page is looked at.
FORMS: list[tuple[str, ViewportSize, Literal["light", "dark"]]] = [
    ("wide-light", WIDE, "light"),
    ("wide-dark", WIDE, "dark"),
    ("narrow-light", NARROW, "light"),
    ("narrow-dark", NARROW, "dark"),
]


def show_as(page: Page, size: ViewportSize, scheme: Literal["light", "dark"]) -> None:
    """The page in this form, all of it: admin's links would take 150 ms from one colour to the other."""
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme)
    page.evaluate("document.getAnimations().forEach(each => each.finish())")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium (TEST_CHROMIUM names another one). Skips with the reason where there is none, fails under CI.

    Playwright's sync API runs an event loop in this thread, at the sight of which Django would refuse its ORM.
    """
    path = os.environ.get("TEST_CHROMIUM") or shutil.which("chromium")
    if path is None:
        reason = "no chromium on PATH (on Debian: apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a browser that has seen nothing yet. The test fails if a script on it did, or wanted more
    than the policy allows.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(WITHIN)
    expect.set_options(timeout=WITHIN)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console", lambda message: errors.append(message.text) if "Content Security Policy" in message.text else None
    )
    yield page
    context.close()
    assert errors == []


def log_in(page: Page, url: str) -> Page:
    """Open an address of admin's as ada, whom the site has, and see it loaded: whoever leaves for another page before
    breaks the login off.
    """
    page.goto(url)
    page.fill("#id_username", "ada")
    page.fill("#id_password", PASSWORD)
    page.press("#id_password", "Enter")
    page.wait_for_url(lambda url: "/login/" not in url)
    return page


@pytest.fixture
def admin(page: Page, live_server: LiveServer) -> Page:
    """A page on which a superuser has logged in to Django admin."""
    User.objects.create_superuser("ada", password=PASSWORD)
    return log_in(page, f"{live_server.url}/admin/")


@pytest.fixture
def screenshot(page: Page) -> Callable[[str], None]:
    """``screenshot("name")`` keeps pictures of the whole page in TEST_SCREENSHOTS, for a person to look at: wide and
    narrow, light and dark.
    """
    folder = os.environ.get("TEST_SCREENSHOTS")

    def take(name: str) -> None:
        if not folder:
            return
        Path(folder).mkdir(parents=True, exist_ok=True)
        before = page.viewport_size or WIDE
        for form, size, scheme in FORMS:
            show_as(page, size, scheme)
            page.screenshot(path=Path(folder) / f"{name}.{form}.png", full_page=True)
        page.set_viewport_size(before)
        page.emulate_media(color_scheme="null")  # as it was; None would change nothing

    return take
