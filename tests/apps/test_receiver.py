"""The receiver kit: what is genuine, and once per key whatever is sent again."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from standardwebhooks import Webhook

from durable_objects.receiver import NotGenuine, receives, verify
from durable_objects.receiver.models import Receipt
from tests.models import Note

SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS10ZXN0cy1vbmx5"
OTHER = "whsec_" + "YW5vdGhlci1zZWNyZXQtb2YtdGhlLXRlc3Rz"
EVENT = {"type": "reminder.due", "data": {"message": "tea"}}


def signed(key: str, body: bytes, *, secret: str = SECRET, age: timedelta = timedelta(0)) -> dict[str, str]:
    """The headers of a message that was signed so long ago."""
    at = datetime.now(UTC) - age
    signature = Webhook(secret).sign(key, at, body.decode())
    return {"webhook-id": key, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}


def send(view: Any, key: str = "k1", body: bytes = json.dumps(EVENT).encode(), **headers: str) -> HttpResponse:
    """POST the message to the view, as it would come over the wire."""
    request = RequestFactory().post(
        "/hook", body, content_type="application/json", headers=headers or signed(key, body)
    )
    response: HttpResponse = view(request)
    return response


@receives(secret=SECRET, source="tests")
def note(request: HttpRequest, event: Any) -> HttpResponse:
    Note.objects.create(text=f"{event['data']['message']} {secrets.token_hex(8)}")
    return HttpResponse(status=202)


@pytest.mark.django_db
def test_a_message_has_its_effect_once() -> None:
    """Sent three times under one key the view runs once; repetitions get the first one's status. A new key is new."""
    assert [send(note).status_code for _ in range(3)] == [202, 202, 202]
    assert (Note.objects.count(), Receipt.objects.count()) == (1, 1)
    send(note, "k2")
    assert Note.objects.count() == 2


@pytest.mark.django_db
def test_what_failed_may_come_again() -> None:
    """When the view raises, or answers 400 or more, neither its work nor the key is kept; the next try counts."""
    answers: Iterator[Any] = iter([RuntimeError("broken"), HttpResponse(status=503), HttpResponse(status=200)])

    @receives(secret=SECRET)
    def shaky(request: HttpRequest, event: Any) -> HttpResponse:
        Note.objects.create(text="x")
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]  # the script of this test

    with pytest.raises(RuntimeError):
        send(shaky)
    assert (Note.objects.count(), Receipt.objects.count()) == (0, 0)
    assert send(shaky).status_code == 503
    assert (Note.objects.count(), Receipt.objects.count()) == (0, 0)
    assert [send(shaky).status_code, send(shaky).status_code] == [200, 200]
    assert Note.objects.count() == 1


@pytest.mark.django_db
def test_what_is_not_genuine_is_refused() -> None:
    """Another secret, a changed body, five minutes of age, missing or broken headers: 401, and the view never runs."""
    body = json.dumps(EVENT).encode()
    good = signed("k1", body)
    forged = [
        signed("k1", body, secret=OTHER),
        signed("k1", body + b" "),
        signed("k1", body, age=timedelta(minutes=6)),
        signed("k1", body, age=-timedelta(minutes=6)),
        {**good, "webhook-id": "k2"},
        {**good, "webhook-signature": "v1,%%%"},
        {**good, "webhook-signature": "nonsense"},
        {**good, "webhook-timestamp": "soon"},
        {"webhook-id": "k1"},
        signed("k" * 300, body),
    ]
    assert [send(note, body=body, **headers).status_code for headers in forged] == [401] * len(forged)
    broken = b"\xff"
    assert send(note, body=broken, **signed("k1", b"x")).status_code == 401
    no_json = b"{"
    assert send(note, body=no_json, **signed("k1", no_json)).status_code == 400
    assert note(RequestFactory().get("/hook")).status_code == 405
    assert (Note.objects.count(), Receipt.objects.count()) == (0, 0)


def test_verify_alone() -> None:
    """Outside of Django's views: the key of a genuine message, header names in any case."""
    body = b"{}"
    headers = {name.title(): value for name, value in signed("key", body).items()}
    assert verify(SECRET, headers, body) == "key"
    with pytest.raises(NotGenuine, match="No matching signature"):
        verify(OTHER, headers, body)


@pytest.mark.django_db
def test_too_much_is_refused_before_it_is_read() -> None:
    """A body over the limit is 413."""
    view = receives(secret=SECRET, max_bytes=10)(lambda request, event: HttpResponse())
    assert send(view).status_code == 413


@pytest.mark.parametrize(
    ("length", "status"), [("9" * 5001, 413), ("1e3", 400), ("-1", 400), ("\xb2", 400), ("0" * 5000, 413)]
)
def test_a_length_that_cannot_be_meant(length: str, status: int) -> None:
    """Whatever a Content-Length says, the answer is a refusal and no failure."""
    request = RequestFactory().post("/hook", b"{}", content_type="application/json", CONTENT_LENGTH=length)
    assert note(request).status_code == status


@pytest.mark.django_db
def test_too_much_that_does_not_say_its_length() -> None:
    """A body that comes in chunks is measured too."""
    view = receives(secret=SECRET, max_bytes=10)(lambda request, event: HttpResponse())
    body = json.dumps(EVENT).encode()
    request = RequestFactory().post("/hook", body, content_type="application/json", headers=signed("k", body))
    del request.META["CONTENT_LENGTH"]
    assert view(request).status_code == 413


@pytest.mark.django_db
def test_old_receipts_go() -> None:
    """A new message takes old receipts along, and leaves those that are still to be known."""
    view = receives(secret=lambda request: SECRET, keep=timedelta(days=2))(lambda request, event: HttpResponse())
    for key, days in (("old", 3), ("young", 1)):
        send(view, key)
        Receipt.objects.filter(key=key).update(received_at=datetime.now(UTC) - timedelta(days=days))
    send(view, "new")
    assert set(Receipt.objects.values_list("key", flat=True)) == {"young", "new"}


@pytest.mark.django_db(transaction=True)
def test_eight_at_once_have_one_effect() -> None:
    """The same message eight times at once, on eight connections: one effect, and nobody gets an error but "busy"."""
    statuses: list[int] = []
    start = threading.Barrier(8)

    def one() -> None:
        start.wait()
        try:
            statuses.append(send(note).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (statuses, Note.objects.count()) == ([202] * 8, 1)


def test_a_receiving_project_installs_nothing_else() -> None:
    """In a project with this app alone the table is made and a message received, without Celery or our rows."""
    code = """
import sys, django
from django.conf import settings
settings.configure(INSTALLED_APPS=["durable_objects.receiver"], USE_TZ=True, ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from durable_objects.receiver.models import Receipt
print(Receipt.objects.count(), [name for name in ("celery", "durable_objects.tables") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "0 []\n", done.stderr
