"""The environment's proxy: whom it is for, and whom it is not for, in every form that people write."""

from __future__ import annotations

from datetime import timedelta

import pytest

from batcher.models import Batch, Batcher
from batcher.models import Upstream as Breaker
from durable_objects import outgoing
from durable_objects.outgoing.proxies import is_exempt
from durable_objects.testing import FakeClock
from tests.support.passing_time import pass_time
from tests.support.upstream import Upstream

SECOND = timedelta(seconds=1)
ALL_FORMS = (
    "localhost, .internal;*.example.com 10.0.0.0/8,fd00::/8,[2001:db8::/32],[fe80::1],[::1]:8080,host:81,,[x]/y,%,::zz"
)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's environment says."""
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)


@pytest.mark.parametrize(
    ("host", "port", "exempt"),
    [
        ("localhost", 80, True), ("LOCALHOST.", 80, True), ("x.localhost", 80, True), ("notlocalhost", 80, False),
        ("a.internal", 80, True), ("internal", 80, True), ("ainternal", 80, False),
        ("a.example.com", 443, True), ("example.com", 443, True), ("example.com.evil.de", 443, False),
        ("10.1.2.3", 80, True), ("11.1.2.3", 80, False), ("::ffff:10.1.2.3", 80, True),
        ("fd12::1", 80, True), ("[fd12::1]", 80, True), ("fe12::1", 80, False),
        ("2001:db8::5", 80, True), ("2001:db9::5", 80, False), ("fe80::1", 80, True), ("fe80::2", 80, False),
        ("::1", 8080, True), ("::1", 80, False), ("host", 81, True), ("host", 80, False), ("x", 80, False),
    ],
)  # fmt: skip
def test_whom_no_proxy_is_for(host: str, port: int, *, exempt: bool) -> None:
    """Names and domains, addresses and ranges of both kinds, in brackets or not, with a port or without; what is none
    of these is passed over.
    """
    assert is_exempt(host, port, ALL_FORMS) is exempt
    assert not is_exempt(host, port, "")
    assert is_exempt(host, port, "other,*")


def post(url: str) -> int:
    return outgoing.post(url, b"{}", headers={}, timeout=5 * SECOND, deadline=5 * SECOND, read_bytes=100).status


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_posts_go_by_the_proxy(upstream: Upstream, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Also where NO_PROXY has a range of IPv6, or an address in brackets: those went nowhere."""
    monkeypatch.setenv(variable, f"127.0.0.1:{upstream.port}")
    monkeypatch.setenv("NO_PROXY", ALL_FORMS)
    assert post("http://batches.example.org/in?a=b") == 200
    assert [request.path for request in upstream.received] == ["http://batches.example.org/in?a=b"]


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "127.0.0.0/8", "fd00::/8,127.0.0.1", "[::1],*", "127.0.0.1:{port}"])
def test_posts_to_the_exempt_go_past_it(upstream: Upstream, monkeypatch: pytest.MonkeyPatch, no_proxy: str) -> None:
    """They go straight to the address."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", no_proxy.format(port=upstream.port))
    assert post(upstream.url) == 200
    assert [request.path for request in upstream.received] == ["/batches"]


@pytest.mark.django_db
@pytest.mark.parametrize("proxy", ["socks5://bob:hunter2@h:1080", "ftp://bob:hunter2@h", "http://bob:hunter2@h:x"])
def test_a_proxy_that_cannot_be_one_is_told_as_that(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """The variable is named, without a password; nothing was sent, no upstream is blamed, and it is tried again."""
    monkeypatch.setenv("HTTP_PROXY", proxy)
    batcher.add_item("a")
    pass_time(alarm_clock, 10 * SECOND)
    batch = Batch.objects.get()
    assert (batch.status, batch.outcome_unknown, Breaker.objects.exists()) == ("open", False, False)
    assert "HTTP_PROXY is" in batch.answer
    assert "hunter2" not in batch.answer
