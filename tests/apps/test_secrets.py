"""Secrets: what may be one, and that none is seen, whatever a server sends back and however it is written."""

from __future__ import annotations

import base64
import html
import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from django.core.exceptions import ImproperlyConfigured, ValidationError
from hypothesis import given
from hypothesis import strategies as st

from batcher.models import Batch, Batcher
from batcher.responses import read
from durable_objects import InvalidInput
from durable_objects import checks as engine_checks
from durable_objects.masking import MASK, masked_url, scrub, secrets_of
from durable_objects.receiver import NotGenuine, receives, verify
from durable_objects.testing import FakeClock
from project.environment import database
from reminders.checks import check_settings
from reminders.conf import defaults
from reminders.models import Delivery, Recipient, Reminder
from tests.support.passing_time import outcomes, pass_time
from tests.support.upstream import Answer, Received, Upstream

GOOD = "whsec_" + base64.b64encode(b"a secret of 24 bytes, ok").decode()
WEAK = ["abcd", "whsec_YWJj", "whsec_", "whsec_x", "correct horse", GOOD.removeprefix("whsec_"), "whsec_" + "A" * 400]
WINDOW = timedelta(seconds=10)
#: Seconds for what takes a tenth, and took minutes.
ENOUGH = 10.0


@pytest.mark.parametrize("secret", WEAK)
@pytest.mark.django_db
def test_a_weak_secret_is_refused_everywhere(
    secret: str, settings: Any, reminder: Reminder, upstream: Upstream
) -> None:
    """One rule for batches, recipients, settings, what is sent and who receives; nobody tells what was given."""
    with pytest.raises(InvalidInput) as refused:
        Batcher.objects.get_by_name("orders").configure(secret=secret)
    texts = [str(refused.value)]
    recipient = Recipient(name="ada", webhook_url=upstream.url, webhook_secret=secret)
    with pytest.raises(ValidationError) as invalid:
        recipient.full_clean()
    assert set(invalid.value.message_dict) == {"webhook_secret"}
    texts.append(str(invalid.value))
    settings.REMINDERS = {"WEBHOOK_URL": upstream.url, "WEBHOOK_SECRET": secret}
    assert [each.id for each in check_settings(None)] == ["reminders.E002"]
    with pytest.raises(ImproperlyConfigured) as receiver:
        receives(secret=secret)
    with pytest.raises(ImproperlyConfigured):
        verify(secret, {}, b"")
    texts.append(str(receiver.value))
    assert all("base64 of 24 to 64 bytes" in text for text in texts)
    assert not any(secret in text for text in texts if len(secret) > 6)


@pytest.mark.parametrize("secret", ["abcd", None, 7, [], [None], b"abcd"])
def test_a_receiver_says_what_a_secret_looks_like(secret: Any) -> None:
    """What is not a secret, of whatever type, is refused with what one looks like, and is not shown."""
    with pytest.raises(ImproperlyConfigured) as refused:
        receives(secret=secret)
    with pytest.raises(ImproperlyConfigured) as refused_later:
        verify(secret, {}, b"")
    text, kind = str(refused.value), type(secret).__name__
    assert text == str(refused_later.value)
    beginning = f"The secret of a receiver is not a signing secret (a value of type {kind}, not shown). Allowed: "
    assert text.startswith(beginning + '"whsec_" and the base64 of 24 to 64 bytes, as in whsec_')
    assert "abcd" not in text


NEW = "whsec_" + base64.b64encode(b"another secret of 26 bytes").decode()
STRANGE = "whsec_" + base64.b64encode(b"a secret of somebody else").decode()


def sent_by_a_batcher(secret: str, upstream: Upstream, clock: FakeClock) -> Received:
    """What a batcher posts that signs with this secret."""
    batcher = Batcher.objects.get_by_name("orders")
    batcher.configure(upstream_url=upstream.url, secret=secret)
    batcher.add_item("a")
    pass_time(clock, WINDOW)
    return upstream.received[-1]


def sent_by_a_reminder(secret: str, upstream: Upstream, clock: FakeClock) -> Received:
    """What a reminder posts to a recipient with this secret."""
    recipient = Recipient(name="ada", webhook_url=upstream.url, webhook_secret=secret)
    recipient.full_clean()
    recipient.save()
    Reminder.objects.get_by_name("tea").set_reminder("tea", clock.now(), channels=["webhook"], person="ada")
    pass_time(clock, timedelta(0))
    return upstream.received[-1]


@pytest.mark.django_db
@pytest.mark.parametrize("sent_by", [sent_by_a_batcher, sent_by_a_reminder])
@pytest.mark.parametrize(
    "change",
    [
        (f"{NEW} {GOOD}", GOOD, True),
        (f"{NEW} {GOOD}", NEW, True),
        (GOOD, [NEW, GOOD], True),
        (NEW, [NEW, GOOD], True),
        (NEW, f"{GOOD} {NEW}", True),
        (f"{NEW} {GOOD}", (GOOD, NEW), True),
        (f"{NEW} {GOOD}", STRANGE, False),
        (STRANGE, [NEW, GOOD], False),
    ],
)
def test_a_secret_is_changed_on_one_side_at_a_time(
    sent_by: Callable[..., Received], change: tuple[str, Any, bool], upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """A sender signs with two secrets, a receiver takes one of several: nothing is refused while they change."""
    sender, receiver, is_taken = change
    post = sent_by(sender, upstream, alarm_clock)
    if is_taken:
        assert verify(receiver, post.headers, post.body) == post.headers["webhook-id"]
    else:
        with pytest.raises(NotGenuine):
            verify(receiver, post.headers, post.body)


@pytest.mark.parametrize("secret", [[], [GOOD, "abcd"], f"{GOOD} ", f"{GOOD}  {NEW}", f"{GOOD} {NEW} {STRANGE}"])
def test_what_no_secrets_can_be(secret: Any) -> None:
    """None at all, a weak one among good ones, more than the new and the old one, or another form."""
    with pytest.raises(ImproperlyConfigured, match="secret of a receiver"):
        receives(secret=secret)
    with pytest.raises(ImproperlyConfigured, match="secret of a receiver"):
        verify(secret, {}, b"")


def test_each_of_two_secrets_is_hidden() -> None:
    """What a server sends back shows neither of them, with or without what they begin with."""
    texts = f"{NEW} {GOOD} {NEW.removeprefix('whsec_')} {GOOD.removeprefix('whsec_')}"
    assert scrub(texts, secrets_of("https://h/", {}, f"{NEW} {GOOD}")) == " ".join([MASK] * 4)


@pytest.mark.django_db
def test_a_weak_secret_signs_nothing(reminder: Reminder, alarm_clock: FakeClock, upstream: Upstream) -> None:
    """A recipient that has one from before is reported, and nothing is posted."""
    Recipient.objects.create(name="ada", webhook_url=upstream.url, webhook_secret="abcd")
    reminder.set_reminder("tea", alarm_clock.now(), channels=["webhook"], person="ada")
    assert outcomes(alarm_clock) == ["succeeded"]
    assert (Delivery.objects.get().status, upstream.received) == ("refused", [])
    assert "for person 'ada' is invalid" in Delivery.objects.get().error


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://bob:pa@ss@h/x", f"https://{MASK}@h/x"),
        ("https://bob:p%40ss@h:8443/x?to=a@b", f"https://{MASK}@h:8443/x?to=a@b"),
        ("https://token@h/", f"https://{MASK}@h/"),
        ("https://h/x?to=a@b", "https://h/x?to=a@b"),
        ("https://h:1/@scope/x", "https://h:1/@scope/x"),
        ("https://[::1]:80/x@y", "https://[::1]:80/x@y"),
        ("https://bob:pa/ss@h/", f"https://{MASK}@h/"),
        ("https://bob:pa?ss@h/", f"https://{MASK}@h/"),
        ("https://bob:pa#s@s@h/", f"https://{MASK}@h/"),
        ("https://bob:p@s/s@h:x/", f"https://{MASK}@s/s@h:x/"),
        ("https://bob:secret/", f"https://bob:{MASK}"),
        ("bob:secret@h/x", f"{MASK}@h/x"),
        ("https:/bob:secret@h/x", f"{MASK}@h/x"),
        ("https:\\\\bob:secret@h", f"{MASK}@h"),
        ("nowhere", "nowhere"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    """Whatever stands in it: an "@", or what makes it no address at all."""
    assert masked_url(url) == shown


@pytest.mark.django_db
@pytest.mark.parametrize(
    "url", ["https://bob:hunter2/x@h/", "ftp://bob:hunter2@h/", "https://bob:hunter2@h:99999/", "https://bob:hunter2@/"]
)
def test_a_refused_address_is_told_without_its_password(batcher: Batcher, url: str, settings: Any) -> None:
    """By batches, recipients and checks."""
    with pytest.raises(InvalidInput) as refused:
        batcher.configure(upstream_url=url)
    with pytest.raises(InvalidInput) as other:
        batcher.configure(upstream_url=url.encode())  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValidationError) as invalid:
        Recipient(name="ada", webhook_url=url).full_clean()
    settings.REMINDERS = {"WEBHOOK_URL": url, "WEBHOOK_SECRET": GOOD}
    texts = [str(refused.value), str(other.value), str(invalid.value), str(check_settings(None))]
    assert [text for text in texts if "hunter2" in text] == []
    assert MASK in texts[0]


@pytest.mark.parametrize("url", ["bob:hunter2@h/db", "mysql:bob:hunter2@h/db", "sqlite://bob:hunter2@h"])
def test_a_refused_database_is_told_without_its_password(url: str, tmp_path: Path) -> None:
    """Also where what was given is no address at all."""
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL") as refused:
        database(url, tmp_path)
    assert "hunter2" not in str(refused.value)


def test_a_setting_of_the_wrong_type_is_told_without_its_value(settings: Any) -> None:
    """Its type says enough, and many of them hold secrets."""
    settings.REMINDERS = {"APPRISE": "tgram://123456:hunter2/x"}
    with pytest.raises(ImproperlyConfigured, match=r"REMINDERS\['APPRISE'\] is of type str; expected dict") as refused:
        _ = defaults.APPRISE
    assert "hunter2" not in f"{refused.value} {engine_checks.check_settings(None)}"
    assert [each.id for each in engine_checks.check_settings(None)] == ["durable_objects.E010"]


PASSWORD = 'p@ss/"wö\\rd&<1>'
ECHOES: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "JSON": lambda text: json.dumps({"got": text}),
    "JSON with letters": lambda text: json.dumps({"got": text}, ensure_ascii=False),
    "JSON in JSON": lambda text: json.dumps(json.dumps({"got": text})),
    "JSON of PHP": lambda text: json.dumps({"got": text}).replace("/", "\\/"),
    "JSON for HTML": lambda text: (
        json.dumps(text).replace("&", "\\u0026").replace("<", "\\u003C").replace(">", "\\u003e")
    ),
    "HTML": html.escape,
    "HTML by number": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    "URL": quote,
    "URL in small letters": lambda text: quote(text).lower(),
    "form": quote_plus,
}


@pytest.mark.parametrize("echo", ECHOES)
def test_a_secret_is_found_however_it_is_written(echo: str) -> None:
    """The password, the Basic header made of it, a token and a signing secret, escaped in the ways of the trade."""
    url, headers = (
        f"https://bob:{quote(PASSWORD, safe='')}@h/",
        {"Authorization": "Bearer t0ken+/=", "Cookie": "a=c00kies; b=x"},
    )
    secrets = secrets_of(url, headers, GOOD)
    basic = base64.b64encode(f"bob:{PASSWORD}".encode()).decode()
    for secret in (PASSWORD, f"Basic {basic}", "t0ken+/=", "c00kies", GOOD, GOOD.removeprefix("whsec_")):
        written = ECHOES[echo](secret) if echo != "URL in small letters" or secret == PASSWORD else quote(secret)
        shown = scrub(f"you sent {written}!", secrets)
        assert MASK in shown, written
        assert not [part for part in (written, secret, basic[:12]) if part in shown], shown


def test_a_header_of_the_basic_kind_hides_its_password_too() -> None:
    """What it encodes is as secret as it is."""
    secrets = secrets_of("", {"Authorization": "Basic " + base64.b64encode(b"bob:hunter2").decode()}, "")
    assert scrub("no user with the password hunter2", secrets) == f"no user with the password {MASK}"


def test_a_short_password_is_one_too() -> None:
    """Four letters of it, where a word of a header has six."""
    secrets = secrets_of("https://bob:pa%40s@h/", {"Accept": "*/*"}, "")
    assert scrub("bob, pa@s and pa%40s: */*", secrets) == f"bob, {MASK} and {MASK}: */*"


@pytest.mark.parametrize("secret", ["hunter2222", r"\hunter2222", r"hunter\\\\\\\2222", "\\" * 10, "größer", "&hunter"])
@pytest.mark.parametrize("piece", ["\\", r"\u005c", "%5c", "hunter\\", "&#0", "&#92;"])
def test_a_hostile_answer_is_looked_through_in_time_for_its_length(secret: str, piece: str) -> None:
    """Whatever an upstream repeats, ten times as much of it as is looked through costs seconds at most."""
    text = piece * (200_000 // len(piece))
    began = time.perf_counter()
    scrub(text, [secret])
    assert time.perf_counter() - began < ENOUGH


@pytest.mark.parametrize("secret", [r"hunter\\2222", r"\\hunter", "hunter22\\\\", r"a\nb\u0061c"])
@pytest.mark.parametrize("echo", ECHOES)
def test_a_secret_with_backslashes_is_hidden(secret: str, echo: str) -> None:
    """As it is, and where JSON is put into JSON, and that into JSON."""
    written = ECHOES[echo](secret)
    for _ in range(3):
        assert secret not in (shown := scrub(f"you sent {written}!", [secret]))
        assert MASK in shown
        written = json.dumps(written)[1:-1]


@given(st.text(min_size=6, max_size=30))
def test_whatever_the_secret_is(secret: str) -> None:
    """Any text of six letters and more is found, as it is and in JSON."""
    for written in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        assert scrub(f"<{written}>", [secret]) == f"<{MASK}>"


@pytest.mark.django_db
def test_an_upstream_that_sends_back_what_it_got(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """Nothing secret is kept of its answer, nor a half of it where that is cut, nor of what it says of items."""
    batcher.configure(
        upstream_url=upstream.url.replace("//", "//bob:hunter2222@"), headers={"X-Token": "abcdefgh" * 4}, secret=GOOD
    )

    def echo(request: Received) -> Answer:
        item = {"status": 422, "error": "x" * 190 + request.headers["authorization"]}
        text = json.dumps({"items": [item], "echo": dict(request.headers), "long": ""}).removesuffix('"}')
        return Answer(200, body=f'{text}{"y" * (1990 - len(text))}{request.headers["x-token"]}"}}'.encode())

    upstream.answer_to = echo
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    batch = Batch.objects.get()
    basic = base64.b64encode(b"bob:hunter2222").decode()
    kept = batch.answer + json.dumps(batch.outcomes)
    assert batch.failed_items == 1
    assert not [part for part in ("abcdefgh", "hunter", basic[:8]) if part in kept], kept


@pytest.mark.parametrize("content_type", ["text/plain; charset=utf-16", "application/json"])
def test_an_answer_in_another_charset(content_type: str) -> None:
    """It is read as what it is before secrets are looked for."""
    body = "you sent hunter2222".encode("utf-16" if "charset" in content_type else "utf-16-le")
    answer = read(400, {"Content-Type": content_type}, body, 1, secrets=["hunter2222"])
    assert answer.text.removeprefix("\ufeff") == f"you sent {MASK}"


@pytest.mark.django_db
def test_a_receiver_that_sends_back_what_it_got(
    reminder: Reminder, alarm_clock: FakeClock, upstream: Upstream, settings: Any
) -> None:
    """Nothing secret is on record of a webhook, delivered or not."""
    url = upstream.url.replace("//", "//bob:hunter2222@")
    settings.REMINDERS = {"WEBHOOK_URL": url, "WEBHOOK_SECRET": GOOD}
    for status in (200, 500, 400):
        upstream.answer_to = lambda request, status=status: Answer(status, body=json.dumps(request.headers).encode())
        reminder.set_reminder("tea", alarm_clock.now(), channels=["webhook"])
        outcomes(alarm_clock)
        row = Delivery.objects.latest("pk")
        assert MASK in row.answer + row.error
        assert base64.b64encode(b"bob:hunter2222").decode()[:8] not in row.answer + row.error
