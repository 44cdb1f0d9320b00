"""Batcher: what a post looks like on the wire, what of it is secret, and that it ends."""

from __future__ import annotations

import gzip
import time
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from standardwebhooks import Webhook, WebhookVerificationError

from batcher.models import Batch, Batcher, BatcherSettings
from batcher.setting_rules import Policy
from durable_objects import InvalidInput
from durable_objects.testing import FakeClock
from tests.support.passing_time import pass_time
from tests.support.upstream import Answer, Upstream

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
WINDOW = timedelta(seconds=10)
KEY = "whsec_" + "c2VjcmV0IG9mIHRoZSB0ZXN0cywgMzIgYnl0ZXMgbG9uZw=="
PASSWORD = "pa55word-of-the-url"
TOKEN = "t0ken-of-the-header"


def test_a_compressed_body(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """With gzip the same batch is the same bytes on every try, as its header says, and the same JSON inside."""
    batcher.configure(gzip=True)
    upstream.script(500)
    batcher.add_items(["ü", 1])
    pass_time(alarm_clock, WINDOW)
    pass_time(alarm_clock, SECOND * 2)
    first, second = upstream.received
    assert first.body == second.body
    assert first.body[4:8] == bytes(4)  # where gzip puts the time
    assert first.headers["content-encoding"] == "gzip"
    assert gzip.decompress(first.body).decode() == (
        f'{{"batcher":"orders","batch":"{Batch.objects.get().pk}","items":["ü",1]}}'
    )


@pytest.mark.parametrize("compressed", [False, True])
def test_a_signature(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, *, compressed: bool) -> None:
    """Signed as Standard Webhooks over the JSON, so that any of its libraries verifies it; the id is the batch's key.

    Another secret, or other text, does not verify.
    """
    batcher.configure(secret=KEY, gzip=compressed, headers={"Webhook-Extra": "1"})
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    (request,) = upstream.received
    text = (gzip.decompress(request.body) if compressed else request.body).decode()
    headers = dict(request.headers)
    assert Webhook(KEY).verify(text, headers)["items"] == ["a"]
    assert headers["webhook-id"] == request.key
    for secret, body in [("whsec_" + "A" * 32, text), (KEY, text.replace("a", "b"))]:
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, headers)


def test_secrets_are_seen_nowhere(
    batcher: Batcher,
    upstream: Upstream,
    alarm_clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Header values, the signing secret and the password of an address are sent, and shown to nobody: not by settings,
    repr, commands or logs, and not where an upstream sends them back.
    """
    url = upstream.url.replace("//", f"//user:{PASSWORD}@")
    batcher.configure(upstream_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, secret=KEY)
    upstream.script(Answer(500, body=f"you sent {TOKEN}, {PASSWORD}, {KEY}".encode()))
    batcher.add_item("a")
    with caplog.at_level("DEBUG"):
        pass_time(alarm_clock, WINDOW)
    call_command("batcher", "show", "orders")
    call_command("batcher", "show", "orders", "--json")
    row, policy = BatcherSettings.objects.get(), batcher._policy()
    shown = [caplog.text, *capsys.readouterr(), repr(row), str(row), repr(policy), str(batcher.settings())]
    assert "Authorization" in str(batcher.settings())
    assert "you sent" in Batch.objects.get().answer
    for secret in [TOKEN, PASSWORD, KEY]:
        assert not [text for text in [*shown, Batch.objects.get().answer] if secret in text]
    assert "Basic " in upstream.received[0].headers["authorization"]


@pytest.mark.parametrize(
    "changes",
    [
        {"secret": TOKEN},
        {"secret": f"whsec_{TOKEN}"},
        {"secret": "whsec_" + "QQ=="},
        {"secret": [TOKEN]},
        {"headers": {"X": f"{TOKEN}\n"}},
        {"headers": {"Webhook-Signature": TOKEN}},
        {"headers": f"X: {TOKEN}"},
        {"upstream_url": f"ftp://user:{TOKEN}@example.com"},
    ],
    ids=repr,
)
def test_a_refused_secret_is_not_in_the_message(batcher: Batcher, changes: dict[str, Any]) -> None:
    """configure() names the setting and what is allowed, and never a value that may be secret."""
    with pytest.raises(InvalidInput) as refused:
        batcher.configure(**changes)
    assert TOKEN not in str(refused.value)
    assert refused.value.allowed


def test_what_policy_says_of_itself() -> None:
    """A traceback with locals, or a debugger, does not have the secrets of a policy either."""
    policy = Policy.over_defaults({"secret": KEY, "headers": {"X": TOKEN}, "upstream_url": f"http://u:{PASSWORD}@h"})
    assert not {secret for secret in (KEY, TOKEN, PASSWORD) if secret in repr(policy)}


def test_a_dripping_upstream_is_left(batcher: Batcher, alarm_clock: FakeClock, dripping: str, settings: Any) -> None:
    """Each byte is in time, all of them are not: DEADLINE ends the post, and its outcome is unknown."""
    settings.BATCHER = {"TIMEOUT": timedelta(seconds=5), "DEADLINE": timedelta(milliseconds=200)}
    batcher.configure(upstream_url=dripping)
    batcher.add_item("a")
    began = time.monotonic()
    pass_time(alarm_clock, WINDOW)
    assert time.monotonic() - began < 10
    batch = Batch.objects.get()
    assert (batch.status, batch.status_code, batch.outcome_unknown) == ("open", None, True)
