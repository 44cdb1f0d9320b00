"""Batcher: windows that end when it gets quiet, and batchers that are full."""

from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from batcher.models import Batch, Batcher, QueueFull
from durable_objects import DurableObjectError, InvalidValue
from durable_objects.operations import actions
from durable_objects.tables import Alarm
from durable_objects.testing import FakeClock, run_due_alarms
from tests.support import http_settings
from tests.support.passing_time import pass_time
from tests.support.upstream import Answer, Upstream

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
WINDOW = timedelta(seconds=10)


def test_a_window_ends_when_it_gets_quiet(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """With quiet a batch goes so long after its last item, and not while they still come."""
    batcher.configure(quiet=SECOND * 3)
    for number in range(3):
        batcher.add_item(number)
        pass_time(alarm_clock, SECOND * 2)
    assert upstream.received == []
    pass_time(alarm_clock, SECOND)
    assert upstream.items == [0, 1, 2]
    assert batcher.get_alarm_time() is None


def test_quiet_has_a_ceiling(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """However steadily items come, the window ends: min(now + quiet, first + window), on every item."""
    batcher.configure(quiet=SECOND * 3)
    start = alarm_clock.now()
    for number in range(10):
        batcher.add_item(number)
        pass_time(alarm_clock, SECOND)
    assert alarm_clock.now() == start + WINDOW
    assert upstream.items == list(range(10))
    batcher.add_item("next")
    assert batcher.get_alarm_time() == alarm_clock.now() + SECOND * 3


def test_items_that_come_do_not_write_the_alarm(batcher: Batcher, alarm_clock: FakeClock) -> None:
    """The alarm stands where the first item has set it and is put off once, when it runs: not by every item."""
    batcher.configure(quiet=SECOND * 3)
    batcher.add_item(0)
    before = Alarm.objects.values().get()
    for number in range(5):
        alarm_clock.advance(SECOND / 2)
        batcher.add_item(number)
    assert Alarm.objects.values().get() == before
    alarm_clock.advance(SECOND / 2)
    assert len(run_due_alarms()) == 1
    assert batcher.get_alarm_time() == alarm_clock.now() + SECOND * 5 / 2


def test_full_flush_and_fire_now_do_not_wait_for_quiet(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """What ends a window early ends a quiet one too."""
    batcher.configure(quiet=SECOND * 3, max_items=2)
    batcher.add_items(["full", "batch"])
    pass_time(alarm_clock)
    batcher.add_item("flushed")
    batcher.flush()
    pass_time(alarm_clock)
    batcher.add_item("fired")
    actions.fire_now(batcher)
    pass_time(alarm_clock)
    assert [request.items for request in upstream.received] == [["full", "batch"], ["flushed"], ["fired"]]


def test_what_a_full_batch_leaves_has_its_quiet_time(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock
) -> None:
    """The rest of a full batch waits for quiet as well."""
    batcher.configure(quiet=SECOND * 3, max_items=2)
    batcher.add_items(["a", "b", "c"])
    pass_time(alarm_clock)
    assert batcher.get_alarm_time() == alarm_clock.now() + SECOND * 3
    pass_time(alarm_clock, SECOND * 3)
    assert upstream.items == ["a", "b", "c"]


def test_a_full_batcher_takes_no_more(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """Waiting items and those in an unfinished batch count; delivered ones do not; none of the refused is added."""
    batcher.configure(max_queued=4)
    upstream.script(500)
    batcher.add_items(["a", "b"])
    pass_time(alarm_clock, WINDOW)
    assert batcher.add_item("c") == 1
    with pytest.raises(QueueFull, match=r"has 3 items .* at most max_queued, 4") as full:
        batcher.add_items(["d", "e"])
    assert isinstance(full.value, DurableObjectError)
    assert full.value.retry_after == SECOND * 2  # when the batch is tried again
    assert batcher.queued() == 1
    pass_time(alarm_clock, SECOND * 2)
    assert batcher.add_items(["d", "e", "f"]) == 4
    with pytest.raises(InvalidValue, match="at most max_queued, 4"):
        batcher.add_items(range(5))


def test_there_is_an_end_by_default(batcher: Batcher, alarm_clock: FakeClock) -> None:
    """A batcher that nobody configured takes a million items and no more."""
    assert batcher.settings()["max_queued"] == 1_000_000
    batcher.storage.put("line", {"head": 1, "tail": 1_000_000, "bytes": 1})  # one less than that
    batcher.add_item("the last")
    with pytest.raises(QueueFull, match="at most max_queued, 1000000"):
        batcher.add_item("one more")


def test_capacity_costs_nothing_while_there_must_be_some(batcher: Batcher, alarm_clock: FakeClock) -> None:
    """Batches are only counted once as many items have come as ``max_queued`` allows."""
    batcher.configure(max_queued=3)
    for number in range(3):
        with CaptureQueriesContext(connection) as asked:
            batcher.add_item(number)
        assert [query for query in asked.captured_queries if 'SUM("batcher_batch"' in query["sql"]] == []
    with pytest.raises(QueueFull):
        batcher.add_item("a fourth")
    pass_time(alarm_clock, timedelta(seconds=10))
    with CaptureQueriesContext(connection) as asked:
        batcher.add_item("a fourth")
    assert [query for query in asked.captured_queries if 'SUM("batcher_batch"' in query["sql"]]


@pytest.mark.urls("project.urls")
def test_full_over_http(batcher: Batcher, alarm_clock: FakeClock, client: Client, settings: object) -> None:
    """429, the code full, and Retry-After in whole seconds; the item is not taken."""
    http_settings.change(settings, TOKENS=["t"])
    batcher.configure(max_queued=1)
    batcher.add_item("a")
    answer = client.post("/batcher/orders", "b", content_type="text/plain", headers={"Authorization": "Bearer t"})
    assert (answer.status_code, answer["Retry-After"], answer.json()["error"]["code"]) == (429, "10", "full")
    assert batcher.queued() == 1


def test_lines_up_to_a_full_batcher(batcher: Batcher, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """``batcher add NAME -`` says how many lines were added before the batcher was full, and from which on not."""
    batcher.configure(max_queued=700)
    monkeypatch.setattr("sys.stdin", io.StringIO("line\n" * 1200))
    with pytest.raises(CommandError, match=r"line 501 was not added: .* max_queued, 700\. \(the 500 lines before"):
        call_command("batcher", "add", "orders", "-")
    assert batcher.queued() == 500


def test_a_bad_line_is_named(batcher: Batcher, alarm_clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is no item ends the command with its number; what came before it is added, and it says so."""
    lines = [json.dumps(number) for number in range(510)] + ["{", "511"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    with pytest.raises(CommandError, match=r"line 511 was not added: Expecting.* 510 lines before it were added"):
        call_command("batcher", "add", "orders", "--json-items", "-")
    assert batcher.queued() == 510
    monkeypatch.setattr("sys.stdin", io.StringIO("fine\nwith a \0 in it\n"))
    with pytest.raises(CommandError, match="line 2 was not added"):
        call_command("batcher", "add", "orders", "-")
    assert (batcher.queued(), Batch.objects.count()) == (511, 0)


def test_without_an_end(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """max_queued 0 is any number."""
    upstream.default = Answer(500)
    batcher.configure(max_queued=0)
    assert batcher.add_items(range(100)) == 100
