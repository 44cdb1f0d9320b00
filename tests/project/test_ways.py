"""One set of odd requests, whichever way they take: WSGI, ASGI and the fast path of each give the same answers.

The same set goes through the web servers that the project runs on, over sockets.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from django.db import connections
from pytest_django import Settings

from batcher.models import Batcher
from durable_objects.http.body_limit import MAX_BODY_BYTES
from durable_objects.http.models import ApiToken
from durable_objects.tables import Object
from project.demo.processes import wait_for
from tests.support import http_settings
from tests.support.server_interfaces import CLOSED, WAYS, Answer, RawRequest, by_socket
from tests.support.site_processes import TOKEN, Site

pytestmark = pytest.mark.slow

GOOD = ("Authorization", f"Bearer {TOKEN}")
BAD = ("Authorization", "Bearer bad")
JSON = ("Content-Type", "application/json")
TEXT = ("Content-Type", "text/plain")
A = b"/batcher/a"
LARGE = b"x" * (MAX_BODY_BYTES + 1)
FORM = ("Content-Type", "multipart/form-data; boundary=b")
FIELDS, COOKIE = ("Content-Type", "application/x-www-form-urlencoded"), ("Cookie", f"csrftoken={'c' * 32}")
UPLOAD = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + LARGE + b"\r\n--b--\r\n"


class Case(NamedTuple):
    """A request, what it is answered with, and the items that it left; ``refused_by``: what a server may say first."""

    sent: RawRequest
    status: int
    code: str | None = None
    items: int = 0
    refused_by: frozenset[int] = frozenset()


def post(*headers: tuple[str, str], body: bytes = b"an item", target: bytes = A, chunks_of: int = 0) -> RawRequest:
    """A request that adds an item, with the token unless an Authorization is given."""
    own = () if any(name == "Authorization" for name, _ in headers) else (GOOD,)
    return RawRequest("POST", target, (*own, *headers), body, chunks_of)


NOBODY = RawRequest("POST", A, (), b"an item")
CASES = {
    # bodies
    "text": Case(post(), 200, items=1),
    "empty": Case(post(body=b""), 200, items=1),
    "length of 0": Case(post(("Content-Length", "0"), body=b""), 200, items=1),
    "JSON": Case(post(JSON, body=b'{"n": [1, 2.5, null]}'), 200, items=1),
    "JSON in a charset": Case(post(("Content-Type", "Application/JSON; charset=utf-8"), body=b"1"), 200, items=1),
    "broken JSON": Case(post(JSON, body=b'{"n":'), 400, "malformed"),
    "NaN": Case(post(JSON, body=b"NaN"), 400, "malformed"),
    "deep JSON": Case(post(JSON, body=b"[" * 100_000), 400, "malformed"),
    "NUL in JSON": Case(post(JSON, body=b'"\\u0000"'), 422, "invalid_value"),
    "in latin-1": Case(post(("Content-Type", "text/plain; charset=ISO-8859-1"), body=b"gr\xfcn"), 200, items=1),
    "JSON in UTF-16": Case(
        post(("Content-Type", 'application/json; charset="utf-16"'), body='{"a": 1}'.encode("utf-16")), 200, items=1
    ),
    "JSON with a mark before it": Case(post(JSON, body=b'\xef\xbb\xbf{"a": 1}'), 400, "malformed"),
    "not in its charset": Case(post(("Content-Type", "text/plain; charset=ascii"), body=b"\xff"), 400, "malformed"),
    "a long Content-Type": Case(
        RawRequest("GET", b"/health", (("Content-Type", f'a/b; x="{";" * 60_000}'),)),
        400,
        "malformed",
        refused_by=frozenset({400, 431, CLOSED}),
    ),
    "a long Content-Type to a link's page": Case(
        RawRequest("POST", b"/remind/snooze/x", (("Content-Type", "a/b" + "; x=y" * 60),), b"x"), 400
    ),
    "two Content-Types, long together": Case(
        post(("Content-Type", "a/b" + "; x=y" * 40), ("Content-Type", "a/b" + "; x=y" * 40)),
        400,
        "malformed",
        refused_by=frozenset({400}),
    ),
    "a charset in a charset": Case(
        RawRequest("GET", b"/health", (("Content-Type", "a/b; charset*=nonsense''utf-8"),)), 400, "malformed"
    ),
    "a parameter's part without end": Case(
        RawRequest("GET", b"/health", (("Content-Type", f"a/b; charset*{'9' * 200}=x"),)), 400, "malformed"
    ),
    "a slow charset to nobody": Case(
        RawRequest("GET", b"/health?a=b", (("Content-Type", "a/b; charset=punycode"),)), 400, "malformed"
    ),
    "a slow charset to a link's page": Case(
        RawRequest("POST", b"/remind/snooze/x", ((FIELDS[0], f"{FIELDS[1]}; charset=punycode"),), b"a=b"), 400
    ),
    "a slow charset": Case(post(("Content-Type", "text/plain; charset=punycode"), body=b"a" * 1000), 400, "malformed"),
    "no charset": Case(post(("Content-Type", "text/plain; charset=hex"), body=b"6161"), 400, "malformed"),
    "not UTF-8": Case(post(body=b"\xff"), 400, "malformed"),
    "1 MiB": Case(post(body=LARGE[1:]), 422, "invalid_value"),
    "over 1 MiB": Case(post(body=LARGE), 413, "too_large"),
    "over 1 MiB, no token": Case(post(("Authorization", ""), body=LARGE), 413, "too_large"),
    "compressed": Case(post(("Content-Encoding", "gzip")), 415, "unsupported_media_type"),
    "called plain": Case(post(("Content-Encoding", "identity")), 200, items=1),
    "a key": Case(post(("Idempotency-Key", "k")), 200, items=1),
    "a key that is none": Case(post(("Idempotency-Key", "k" * 256)), 422, "invalid_value"),
    # lengths
    "no number for a length": Case(post(("Content-Length", "1e3")), 400, "malformed", refused_by=frozenset({400})),
    "a negative length": Case(post(("Content-Length", "-1")), 400, "malformed", refused_by=frozenset({400})),
    "a length in other digits": Case(post(("Content-Length", "\xb2")), 400, "malformed", refused_by=frozenset({400})),
    "a length of 5,001 digits": Case(
        post(("Content-Length", "9" * 5001)), 413, "too_large", refused_by=frozenset({400, CLOSED})
    ),
    "two equal lengths": Case(
        post(("Content-Length", "7"), ("Content-Length", "7")), 400, "malformed", refused_by=frozenset({200, 400})
    ),
    "two lengths": Case(
        post(("Content-Length", "7"), ("Content-Length", "8")), 400, "malformed", refused_by=frozenset({400})
    ),
    # chunks
    "chunked": Case(post(body=b"x" * 5000, chunks_of=1000), 200, items=1),
    "chunked JSON": Case(post(JSON, body=b'{"a": 1}', chunks_of=3), 200, items=1),
    "chunked, over 1 MiB": Case(post(body=LARGE, chunks_of=65536), 413, "too_large"),
    "chunked, 5 MiB": Case(post(body=LARGE * 5, chunks_of=65536), 413, "too_large"),
    "chunked, no token": Case(
        RawRequest("POST", A, (), LARGE, 65536), 401, "unauthorized", refused_by=frozenset({413})
    ),
    "chunked, wrong token": Case(
        post(BAD, body=LARGE, chunks_of=65536), 401, "unauthorized", refused_by=frozenset({413})
    ),
    "chunked reminder": Case(
        RawRequest("PUT", b"/reminders/a", (GOOD, JSON), b'{"message": "m", "fire_at": "2100-01-01T00:00:00Z"}', 9), 200
    ),
    "chunked to nowhere": Case(post(target=b"/nowhere", body=b"abc", chunks_of=1), 404, "not_found"),
    "upload to the log-in page": Case(
        RawRequest("POST", b"/admin/login/", (FORM,), UPLOAD), 413, refused_by=frozenset({413})
    ),
    "chunked form to the log-in page": Case(
        RawRequest("POST", b"/admin/login/", (FIELDS, COOKIE), LARGE, 65536), 413, refused_by=frozenset({413})
    ),
    "unread form to the log-in page": Case(
        RawRequest("POST", b"/admin/login/", (FIELDS,), LARGE, 65536), 403, refused_by=frozenset({413})
    ),
    "upload to a link's page": Case(
        RawRequest("POST", b"/remind/snooze/x", (FORM,), UPLOAD), 413, refused_by=frozenset({413})
    ),
    # tokens
    "no token": Case(NOBODY, 401, "unauthorized"),
    "wrong token": Case(post(BAD), 401, "unauthorized"),
    "another scheme": Case(post(("Authorization", f"Basic {TOKEN}")), 401, "unauthorized"),
    "scheme in capitals": Case(post(("Authorization", f"BEARER {TOKEN}")), 200, items=1),
    "bad and good token": Case(post(BAD, GOOD), 401, "unauthorized"),
    "good and bad token": Case(post(GOOD, BAD), 401, "unauthorized"),
    "the good token twice": Case(post(GOOD, GOOD), 401, "unauthorized"),
    # hosts
    "another host": Case(post(("Host", "elsewhere.example")), 400, "malformed"),
    "two hosts": Case(
        post(("Host", "localhost"), ("Host", "elsewhere.example")), 400, "malformed", refused_by=frozenset({400})
    ),
    "a host that is none": Case(post(("Host", "a b")), 400, "malformed", refused_by=frozenset({400})),
    # paths
    "percent-encoded": Case(post(target=b"/batcher/%C3%A4"), 200, items=1),
    "percent-encoded ASCII": Case(post(target=b"/batcher/%61"), 200, items=1),
    "raw UTF-8": Case(post(target="/batcher/ä".encode()), 200, items=1, refused_by=frozenset({400})),
    "%ff": Case(post(target=b"/batcher/%ff"), 400, "malformed"),
    "%zz": Case(post(target=b"/batcher/%zz"), 400, "malformed"),
    "a surrogate": Case(post(target=b"/batcher/%ed%a0%80"), 400, "malformed"),
    "%ff for people": Case(RawRequest("GET", b"/admin/%ff"), 400),
    "an encoded slash": Case(post(target=b"/batcher/a%2Fb"), 404, "not_found"),
    "a deeper path": Case(post(target=b"/batcher/a/b"), 404, "not_found"),
    "no name": Case(post(target=b"/batcher/"), 404, "not_found"),
    "a dot": Case(post(target=b"/batcher/."), 400, "malformed"),
    "two dots": Case(post(target=b"/batcher/.."), 400, "malformed"),
    "two dots, encoded": Case(post(target=b"/batcher/%2e%2E"), 400, "malformed"),
    "three dots": Case(post(target=b"/batcher/..."), 200, items=1),
    "513 characters": Case(post(target=b"/batcher/" + b"n" * 513), 422, "invalid_name"),
    "a query": Case(post(target=b"/batcher/a?b=c"), 200, items=1),
    "a query in raw bytes": Case(post(target=b"/batcher/a?b=\xff"), 200, items=1, refused_by=frozenset({400})),
    # methods
    "another method": Case(RawRequest("PUT", A, (GOOD,), b"x"), 405, "method_not_allowed"),
    "a look": Case(RawRequest("GET", A, (GOOD,)), 200),
    "a look with a body": Case(RawRequest("GET", A, (GOOD,), b"x"), 200),
    "HEAD": Case(RawRequest("HEAD", A, (GOOD,)), 200),
    "openapi.json with a body": Case(RawRequest("GET", b"/openapi.json", (), b"x", 1), 200),
}


def agrees(case: Case, answer: Answer) -> bool:
    """Whether this is the answer to the request, in our form where it is not for people."""
    return (answer.status, answer.code) == (case.status, case.code)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("which", CASES)
def test_the_same_answer_by_every_way(which: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status, code, headers, body and what is stored do not depend on the way that a request takes."""
    http_settings.change(settings, TOKENS=[TOKEN])
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)  # as project.asgi has it
    case, meanings = CASES[which], {}
    for way, ask in WAYS.items():
        answer = ask(case.sent)
        assert agrees(case, answer), (way, answer)
        items = [len(one.storage.list(prefix="item:")) for one in Batcher.objects.all()]
        assert sum(items) == case.items, way
        meanings[way] = answer.meaning
        for one in Batcher.objects.all():
            one.delete()
        Object.objects.all().delete()
    assert meanings == dict.fromkeys(WAYS, meanings["WSGI"])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("schemes", "status"),
    [(["https"], 200), (["http"], 301), (["http", "https"], 301), (["https", "http"], 200), ([], 301)],
)
def test_what_a_proxy_says_of_https(
    way: str, schemes: list[str], status: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several X-Forwarded-Proto the first counts, by whichever way; who came by HTTP is sent to HTTPS."""
    http_settings.change(settings, TOKENS=[TOKEN])
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)
    answer = WAYS[way](post(*(("X-Forwarded-Proto", each) for each in schemes)))
    assert answer.status == status
    assert Object.objects.exists() == (status == 200)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("host", "status"), [("any.example", 200), ("any.example:8000", 200), ("[::1]:80", 200), ("a b", 400), ("a/b", 400)]
)
def test_a_host_that_is_none_where_all_are_allowed(
    way: str, host: str, status: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ALLOWED_HOSTS of "*" allows every host, and not what is no host, by whichever way."""
    http_settings.change(settings, TOKENS=[TOKEN])
    settings.ALLOWED_HOSTS = ["*"]
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)
    assert WAYS[way](post(("Host", host))).status == status


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("chunks_of", [0, 3])
def test_a_token_that_this_process_has_not_met(way: str, chunks_of: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked up before its body is read, and the body is not lost."""
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)
    token = ApiToken(name="the shop", scopes=["batcher:write"]).issue()
    header = ("Authorization", f"Bearer {token}")
    assert WAYS[way](post(header, body=b"an item", chunks_of=chunks_of)).status == 200
    (entry,) = Batcher.objects.get_by_name("a").storage.list(prefix="item:").values()
    assert entry["item"] == "an item"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["ASGI", "ASGI, fast path"])
@pytest.mark.parametrize("chunks_of", [0, 3])
def test_a_body_that_was_passed_over_is_not_empty(way: str, chunks_of: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that could not be looked up at first, and is good a moment later, has to send its item again."""
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)

    async def not_yet(*_: object) -> bool:
        return False

    monkeypatch.setattr("durable_objects.http.asgi_body_limit._is_known", not_yet)
    token = ApiToken(name="the shop", scopes=["batcher:write"]).issue()
    answer = WAYS[way](post(("Authorization", f"Bearer {token}"), chunks_of=chunks_of))
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert not Object.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("which", "status"), [("text", 200), ("broken JSON", 400), ("a deeper path", 404)])
def test_a_request_counts_once(
    way: str, which: str, status: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whichever way, and whatever is wrong with it, a request takes one of its token's turns, or none if no route is
    reached.
    """
    http_settings.change(settings, TOKENS=[TOKEN], RATE="3/h")
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)
    asked = [WAYS[way](CASES[which].sent).status for _ in range(4)]
    assert asked == [status] * 3 + [status if status == 404 else 429]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("chunks_of", [0, 65536])
def test_no_body_is_written_to_disk(
    way: str, chunks_of: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is sent to whichever page, and in whichever form, stays in memory."""
    http_settings.change(settings, TOKENS=[TOKEN])
    written: list[object] = []
    monkeypatch.setattr("tempfile.SpooledTemporaryFile.rollover", written.append)
    monkeypatch.setattr(
        "django.core.files.uploadedfile.TemporaryUploadedFile.__init__", lambda *arguments: written.append(arguments)
    )
    for path, status in ((b"/admin/login/", 413), (b"/remind/snooze/x", 413), (A, 413)):
        for body in (UPLOAD, LARGE * 4):
            answer = WAYS[way](RawRequest("POST", path, (FORM, COOKIE, GOOD), body, chunks_of))
            assert answer.status == status or chunks_of
    within = UPLOAD.replace(LARGE, LARGE[1000:])
    assert WAYS[way](RawRequest("POST", b"/admin/login/", (FORM, COOKIE), within, chunks_of)).status == 403
    assert written == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """The ports of the project's web servers, on one database: ``up``'s, gunicorn's for WSGI and for ASGI."""
    folder: Path = tmp_path_factory.mktemp("servers")
    ports = {}
    for name in ("up", "gthread", "asgi"):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports[name] = free.getsockname()[1]
    with Site(folder, f"sqlite:///{folder / 'db.sqlite3'}", "memory://") as running:
        running.migrate()
        running.start("up", "manage.py", "up", "--port", str(ports["up"]), "--json", "--no-admin")
        for name, application in (("gthread", "wsgi"), ("asgi", "asgi")):
            options = ["--worker-class", name, "--threads", "4", "--bind", f"127.0.0.1:{ports[name]}"]
            started = running.start(
                name, "-m", "gunicorn", f"project.{application}:application", *options, "--log-level", "debug"
            )
        started.says("Using uvloop event loop")  # if it is installed, as it is for production
        for port in ports.values():
            wait_for("a web server", partial(listens, port), seconds=30)
        yield ports


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("server", ["up", "gthread", "asgi"])
def test_the_same_answer_over_sockets(server: str, site: dict[str, int]) -> None:
    """The servers of the project give those answers, or refuse by themselves what is no HTTP."""
    ask = by_socket(site[server])
    wrong = {}
    for which, case in CASES.items():
        answer = ask(case.sent)
        if not agrees(case, answer) and answer.status not in case.refused_by:
            wrong[which] = (answer.status, answer.body[:200])
    assert wrong == {}


@pytest.mark.slow
@pytest.mark.parametrize("server", ["up", "gthread", "asgi"])
@pytest.mark.parametrize("chunk", [b"-1\r\nabc\r\n", b"zz\r\nabc\r\n", b"3\r\nabcdef\r\n"])
@pytest.mark.parametrize("target", [b"/batcher/a", b"/admin/login/"])
def test_chunks_that_are_none(server: str, chunk: bytes, target: bytes, site: dict[str, int]) -> None:
    """A malformed chunk is answered with 400, whoever meets it: the server or we; 403 where nobody reads it."""
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", site[server]), timeout=10) as client:
        client.sendall(head % (target, TOKEN.encode()) + chunk + b"0\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer[9:12] in ({b"400", b"403"} if b"admin" in target else {b"400"}), answer


@pytest.mark.slow
@pytest.mark.parametrize("server", ["up", "gthread", "asgi"])
def test_strangers_that_drip_hold_nobody_up(server: str, site: dict[str, int]) -> None:
    """32 connections without a token that send a chunk a second do not keep others from being answered."""
    ended = threading.Event()
    head = b"POST /batcher/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"

    def drip() -> None:
        with socket.create_connection(("127.0.0.1", site[server]), timeout=10) as client:
            try:
                client.sendall(head)
                while not ended.wait(0.5):
                    client.sendall(b"1\r\nx\r\n")
            except OSError:
                return  # it was asked to end

    threads = [threading.Thread(target=drip) for _ in range(32)]
    for thread in threads:
        thread.start()
    try:
        ask = by_socket(site[server])
        assert [ask(CASES["text"].sent).status for _ in range(10)] == [200] * 10
    finally:
        ended.set()
        for thread in threads:
            thread.join(15)
