"""``python -m docs.pictures [name …]`` draws docs/images again: a site with a morning's trouble, seen by chromium.

It needs chromium and Playwright, as the browser tests do. The site has a database of its own, which goes away.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import django

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs/images"


def main(names: list[str]) -> None:
    """Draw the pictures of these names, or all of them."""
    sys.path.insert(0, str(ROOT / "examples/shop"))
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "docs.pictures.settings",
            "DJANGO_ALLOW_ASYNC_UNSAFE": "1",  # Playwright's sync API runs a loop in this thread
            "DATABASE_URL": f"sqlite:///{folder}/pictures.sqlite3",
            "SECRET_KEY": "of-a-site-that-is-only-seen-in-pictures-of-it",
            "DEBUG": "1",
        }
        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        draw(serve(), names)


def serve() -> str:
    """Serve the site from a thread; return its address."""
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
    from django.core.wsgi import get_wsgi_application

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadedWSGIServer(("127.0.0.1", 0), Quiet)
    server.set_app(StaticFilesHandler(get_wsgi_application()))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def draw(address: str, names: list[str]) -> None:
    """Log in, and take a picture of each page: 1280 wide, light."""
    from django.contrib.auth.models import User
    from playwright.sync_api import sync_playwright

    from docs.pictures.scenes import scenes

    password = secrets.token_urlsafe()
    User.objects.create_superuser("ada", password=password)
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        page.goto(f"{address}/admin/login/")
        page.fill("#id_username", "ada")
        page.fill("#id_password", password)
        page.press("#id_password", "Enter")
        page.wait_for_url(lambda url: "/login/" not in url)
        page.evaluate(
            "localStorage.setItem('django.admin.navSidebarIsOpen', 'false')"
        )  # the page itself is what is shown
        for scene in scenes():
            if names and scene.name not in names:
                continue
            page.goto(address + scene.path)
            if scene.then is not None:
                scene.then(page)
            page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
            path = IMAGES / f"{scene.name}.png"
            end = page.locator(scene.until).last.bounding_box()
            assert end is not None, f"{scene.path} shows no {scene.until}"
            height = end["y"] + end["height"] + 16
            page.screenshot(path=path, full_page=True, clip={"x": 0, "y": 0, "width": 1280, "height": height})
            sys.stdout.write(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1000} kB\n")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
