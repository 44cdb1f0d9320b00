"""``manage.py batcher``: what was not delivered, receipts and settings, for people and for programs."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from batcher.models import Batch, Batcher
from durable_objects.testing import FakeClock
from tests.support.passing_time import pass_time
from tests.support.upstream import Answer, Upstream

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
WINDOW = timedelta(seconds=10)


def run(*arguments: str) -> Any:
    """What the command says with --json."""
    out = io.StringIO()
    call_command("batcher", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_replay_leaves_alone_what_may_have_arrived(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """Without ids only what is proven undelivered is replayed; the rest is counted, and taken along by --unknown."""
    batcher.configure(give_up_after=timedelta(0))
    upstream.script(400, Answer(drop=True))
    for item in ["refused", "unknown"]:
        batcher.add_item(item)
        pass_time(alarm_clock, WINDOW)
    proven, unknown = Batch.objects.order_by("first_item")
    shown = run("replay", "orders")
    assert (shown["replayed"], shown["left_unknown"]) == ([str(proven.pk)], 1)
    assert run("replay", "orders", "--unknown")["replayed"] == [str(unknown.pk)]
    pass_time(alarm_clock)
    assert set(Batch.objects.values_list("status", flat=True)) == {"delivered"}


def text_of(*arguments: str) -> str:
    """What the command says to people."""
    out = io.StringIO()
    call_command("batcher", *arguments, stdout=out)
    return out.getvalue()


def test_replay_of_nothing_points_at_what_is_set_aside(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """Where no batch failed but some are set aside, it says when each is tried again, and that flush does it now."""
    batcher.configure(max_retries=0)
    upstream.default = Answer(503)
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    batch = Batch.objects.get(status="set_aside")
    assert batch.next_try_at is not None
    shown = run("replay", "orders")
    assert shown["replayed"] == []
    assert shown["set_aside"] == [{"id": str(batch.pk), "next_try_at": batch.next_try_at.isoformat()}]
    text = text_of("replay", "orders")
    assert f"id={batch.pk}  next_try_at={batch.next_try_at.isoformat()}" in text
    assert (
        "hint: set-aside batches are tried again at these times; manage.py batcher flush orders tries them now" in text
    )
    upstream.default = Answer(200)
    run("flush", "orders")
    pass_time(alarm_clock)
    assert Batch.objects.get().status == "delivered"


def test_replay_has_no_hint_without_need(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """There is no hint at set-aside batches where there are none, or where something was replayed."""
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    assert "hint" not in run("replay", "orders")
    upstream.script(503, 400)
    batcher.configure(max_retries=0)
    for item in ["set aside", "refused"]:
        batcher.add_item(item)
        pass_time(alarm_clock, WINDOW)
    shown = run("replay", "orders")
    assert (len(shown["replayed"]), "hint" in shown) == (1, False)


def test_show_of_a_batcher_that_was_never_used() -> None:
    """It says so, with the name, for programs and for people, and the batcher stays unused."""
    shown = run("show", "nope")
    assert (shown["used"], shown["queued"], shown["batches"]) == (False, 0, [])
    assert 'hint: batcher "nope" was never used; manage.py batcher list shows those that were' in text_of(
        "show", "nope"
    )
    assert not Batcher.objects.filter(name="nope").exists()
    Batcher.objects.get_by_name("nope").add_item("a")
    shown = run("show", "nope")
    assert (shown["used"], "hint" in shown) == (True, False)


def test_show_says_what_goes_on(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """Settings in force, the breaker, the batches; as text as well."""
    upstream.default = Answer(503)
    batcher.configure(headers={"X-Key": "hidden from all"})
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    shown = run("show", "orders")
    assert (shown["upstream"]["state"], shown["upstream"]["failures"]) == ("closed", 1)
    assert shown["settings"]["headers"] == {"X-Key": "••••••"}
    assert shown["batches"][0]["status"] == "open"
    out = io.StringIO()
    call_command("batcher", "show", "orders", stdout=out)
    assert "last_error=503" in out.getvalue()
    assert run("show", "never used")["batches"] == []


def test_list_fail_and_receipt(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """The other verbs: all batchers by name, a batch given up, an item's receipt."""
    upstream.default = Answer(500)
    Batcher.objects.get_by_name("others").add_item("x")
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    assert [each["batcher"] for each in run("list")["batchers"]] == ["orders", "others"]
    assert [each["batcher"] for each in run("list", "--prefix", "ot")["batchers"]] == ["others"]
    batch = Batch.objects.get(batcher=batcher)
    assert run("fail", "orders", str(batch.pk), "--reason", "by mail")["failed"] == [str(batch.pk)]
    shown = run("receipt", "orders", "1")
    assert (shown["state"], shown["why"], shown["batch"]) == ("failed", "by mail", str(batch.pk))


WINDOWS = "a\r\nb \r\n\r\nc\rd\r\ne"


@pytest.mark.parametrize("given", [WINDOWS, f"\ufeff{WINDOWS}\r\n", "\ufeff" + WINDOWS.replace("\r\n", "\n")])
def test_lines_as_windows_writes_them(given: str, batcher: Batcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that end with CR LF, and a byte order mark before the first, are the same items as without."""
    monkeypatch.setattr("sys.stdin", io.StringIO(given, newline="\n"))
    assert run("add", "orders", "-")["added"] == 5
    entries = batcher.storage.list(prefix="item:").values()
    assert [entry["item"] for entry in entries] == ["a", "b ", "", "c\rd", "e"]


def test_lines_of_json_as_windows_writes_them(batcher: Batcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """So are items in JSON, and a setting that is read from a line."""
    monkeypatch.setattr("sys.stdin", io.StringIO('\ufeff{"a": 1}\r\n"b"\r\n', newline=""))
    assert run("add", "orders", "--json-items", "-")["added"] == 2
    assert [entry["item"] for entry in batcher.storage.list(prefix="item:").values()] == [{"a": 1}, "b"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\ufeffwhsec_" + "A" * 32 + "\r\n", newline=""))
    run("configure", "orders", "secret=-")
    assert batcher._policy().secret == "whsec_" + "A" * 32


def test_configure(batcher: Batcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings as they are typed; nothing puts one back; a secret comes by standard input and is not shown."""
    monkeypatch.setattr("sys.stdin", io.StringIO("whsec_" + "A" * 32 + "\n"))
    shown = run("configure", "orders", "window=30", "gzip=true", 'headers={"X": "12345678"}', "max_items=3", "secret=-")
    assert "AAAA" not in str(shown)
    assert "1234" not in str(shown)
    policy = batcher._policy()
    assert (policy.window, policy.gzip, policy.max_items) == (SECOND * 30, True, 3)
    assert policy.secret == "whsec_" + "A" * 32
    run("configure", "orders", "window=", 'upstream_url=""')
    assert (batcher._policy().window, batcher._policy().upstream_url) == (WINDOW, "")
    for wrong in ["window=soon", "max_items=0", "gzip=1", "colour=1"]:
        with pytest.raises(CommandError):
            run("configure", "orders", wrong)


@pytest.mark.parametrize("verb", ["list", "add", "show", "flush", "cancel", "replay", "fail", "receipt", "configure"])
def test_help_has_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each verb's help shows how it is used."""
    with pytest.raises(SystemExit):
        call_command("batcher", verb, "--help")
    assert f"manage.py batcher {verb}" in capsys.readouterr().out.partition("examples:")[2]
