"""What an error page shows while debugging, and a mail about an error: nothing that opens something."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from django.core.exceptions import BadRequest
from django.test import RequestFactory
from django.views.debug import get_exception_reporter_class, technical_500_response
from pytest_django import Settings

from tests.support import http_settings

BROKER = "amqp://site:canary-of-the-broker@rabbitmq:5672//"
BOT = "tgram://123456:canary-of-apprise/987/"
TOKEN, FORM, VARIABLE, WEBHOOK = (f"canary-of-a-{name}" for name in ("token", "form", "frame", "webhook"))
UPSTREAM = "https://bob:canary-in-words@example/"
CANARIES = ("canary-of-the-broker", "canary-of-apprise", "canary-in-words", TOKEN, FORM, VARIABLE, WEBHOOK)


@pytest.fixture(autouse=True)
def _secrets(settings: Settings) -> None:
    settings.DEBUG = True
    settings.CELERY_BROKER_URL = BROKER
    http_settings.change(settings, TOKENS=[TOKEN])
    settings.REMINDERS = {"APPRISE": {"ops": BOT}, "WEBHOOK_SECRET": WEBHOOK}
    settings.SOMEWHERE = "http://bob:canary-of-the-broker@example/"


def failed() -> tuple[Any, Any]:
    """A request, and what went wrong with it in a frame that holds secrets."""
    request = RequestFactory().post("/admin/", {"webhook_secret": FORM, "name": "ada"})
    api_key = VARIABLE
    try:
        raise RuntimeError(f"no answer from {UPSTREAM} {BOT} with {len(api_key)}")
    except RuntimeError:
        return request, sys.exc_info()


def test_a_page_about_an_error_tells_no_secret() -> None:
    """Addresses of the broker and of Apprise, tokens, what a form carried, variables and logins in words are hidden."""
    request, error = failed()
    page = technical_500_response(request, *error).content.decode()
    assert "no answer from https://" in page
    assert "ada" in page
    assert [canary for canary in CANARIES if canary in page] == []


def test_a_page_about_a_form_that_cannot_be_read() -> None:
    """What was wrong with the form is shown, and the page does not fail on it once more."""
    request = RequestFactory().post("/admin/", "a=b", "application/x-www-form-urlencoded; charset=utf-16")
    with pytest.raises(BadRequest) as refused:
        _ = request.POST
    page = technical_500_response(request, refused.type, refused.value, refused.tb).content.decode()
    assert "must be UTF-8 encoded" in page


@pytest.mark.parametrize("debug", [True, False])
def test_a_mail_about_an_error_tells_no_secret(settings: Settings, debug: bool) -> None:
    """The text that Django mails to ADMINS holds none either."""
    settings.DEBUG = debug
    request, error = failed()
    make: Any = get_exception_reporter_class(request)
    reporter = make(request, *error, is_email=True)
    text = reporter.get_traceback_text()
    assert "no answer from https://" in text
    assert [canary for canary in CANARIES if canary in text] == []
