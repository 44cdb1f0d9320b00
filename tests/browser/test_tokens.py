"""API tokens in a real browser, as an operator makes and revokes one."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from durable_objects.http import tokens

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_a_token_from_its_making_to_its_end(
    admin: Page, live_server: LiveServer, screenshot: Callable[[str], None]
) -> None:
    """Made with ticked boxes, shown once and used; revoked after a question, and refused from then on."""
    tokens.forget()
    admin.goto(f"{live_server.url}/admin/durable_objects_http/apitoken/")
    expect(admin.locator("#content")).to_contain_text("No token was made here yet.")
    screenshot("token-none")
    admin.get_by_role("link", name="add it").click()
    admin.fill("#id_name", "the shop")
    admin.get_by_label("batcher:read").check()
    screenshot("token-new")
    admin.get_by_role("button", name="Save", exact=True).click()
    token = admin.locator("#token").inner_text()
    screenshot("token-made")
    admin.get_by_role("button", name="Copy").click()
    expect(admin.get_by_role("button", name="Copied").or_(admin.get_by_role("button", name="Selected"))).to_be_visible()
    assert admin.evaluate("window.getSelection().toString()") == token

    def asked() -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{live_server.url}/batcher/a", headers=headers, trust_env=False).status_code

    assert asked() == 200
    admin.get_by_role("link", name="Back to the tokens").click()
    expect(admin.locator("#content")).not_to_contain_text(token)
    screenshot("token-list")
    admin.get_by_role("link", name="the shop").click()
    screenshot("token-page")
    admin.get_by_role("button", name="Revoke…").click()
    screenshot("token-question")
    admin.get_by_role("button", name="Yes: revoke").click()
    expect(admin.locator(".messagelist")).to_contain_text("refused everywhere within 5 s")
    expect(admin.get_by_role("button", name="Revoke…")).to_have_count(0)
    screenshot("token-revoked")
    assert asked() == 401
