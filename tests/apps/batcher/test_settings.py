"""Batcher: what may be an item, and what may be set."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from batcher.models import Batch, Batcher
from durable_objects import InvalidInput, InvalidValue
from durable_objects.testing import FakeClock
from tests.support.passing_time import pass_time
from tests.support.upstream import Upstream

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
WINDOW = timedelta(seconds=10)


@pytest.mark.parametrize(
    "item",
    [float("nan"), float("inf"), (1, 2), {1}, b"x", {1: "a"}, object(), "\0", "\ud800", {"a": [timedelta(1)]}],
    ids=lambda item: repr(item).partition(" at 0x")[0],
)
def test_what_is_no_json_is_refused(batcher: Batcher, item: object) -> None:
    """An item is any JSON value; anything else raises InvalidValue, and of add_items() none is taken."""
    with pytest.raises(InvalidValue):
        batcher.add_item(item)
    with pytest.raises(InvalidValue):
        batcher.add_items(["fine", item])
    assert (batcher.queued(), batcher.get_alarm_time()) == (0, None)


@pytest.mark.parametrize("items", ["text", b"bytes", {"a": 1}, 5])
def test_add_items_takes_a_list_of_items(batcher: Batcher, items: Any) -> None:
    """Text, bytes, a dict or a number is no list of items."""
    with pytest.raises(InvalidValue, match="takes a list"):
        batcher.add_items(items)


@pytest.mark.parametrize(
    "item", [None, True, 0, -1.5, 10**100, "", "ü€😀", [], {}, [[{"a": None}]], {"$type": "datetime"}], ids=repr
)
def test_any_json_value_arrives_as_it_was(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, item: object
) -> None:
    """Each JSON value comes out as it went in."""
    batcher.add_item(item)
    pass_time(alarm_clock, WINDOW)
    assert upstream.items == [item]


@pytest.mark.parametrize(
    "changes",
    [
        {"upstream_url": "ftp://x"},
        {"upstream_url": "nowhere"},
        {"upstream_url": b"http://x"},
        {"headers": {"Content-Type": "text/plain"}},
        {"headers": {"X": "a\nb"}},
        {"headers": [("a", "b")]},
        {"window": 10},
        {"window": timedelta(seconds=-1)},
        {"max_items": 0},
        {"max_items": True},
        {"max_bytes": "many"},
        {"max_retries": -1},
        {"give_up_after": None, "max_retries": 1.5},
        {"colour": "red"},
    ],
    ids=repr,
)
def test_configure_refuses_and_changes_nothing(batcher: Batcher, changes: dict[str, Any], upstream: Upstream) -> None:
    """A refused setting raises InvalidInput with what is allowed, and the others given with it stay as they were."""
    with pytest.raises(InvalidInput) as refused:
        batcher.configure(**{"max_items": 3, **changes})
    assert refused.value.allowed
    assert batcher.add_items(range(4)) == 4
    assert batcher._policy().max_items == 5000
    assert batcher._policy().upstream_url == upstream.url


def test_configure_changes_what_is_given(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock) -> None:
    """Only what is given changes; None puts a setting back to the project's; headers go along with each post."""
    batcher.configure(window=SECOND, headers={"Authorization": "Bearer x"})
    batcher.configure(max_items=9)
    policy = batcher._policy()
    assert (policy.window, policy.max_items, policy.upstream_url) == (SECOND, 9, upstream.url)
    batcher.configure(window=None)
    assert batcher._policy().window == WINDOW
    batcher.add_item(1)
    pass_time(alarm_clock, WINDOW)
    assert upstream.received[0].headers["authorization"] == "Bearer x"


def test_the_projects_settings_hold_where_a_batcher_has_none(settings: Any, alarm_clock: FakeClock) -> None:
    """settings.BATCHER is read when it is used."""
    settings.BATCHER = {"WINDOW": timedelta(minutes=1)}
    batcher = Batcher.objects.get_by_name("plain")
    batcher.add_item(1)
    assert batcher.get_alarm_time() == alarm_clock.now() + timedelta(minutes=1)


def test_without_an_upstream_a_batch_is_logged(alarm_clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """As in the seed: nowhere to post to means a log line, and delivered."""
    batcher = Batcher.objects.get_by_name("nowhere")
    batcher.add_items(["a", "b"])
    with caplog.at_level("INFO", logger="batcher"):
        pass_time(alarm_clock, WINDOW)
    assert Batch.objects.get().status == "delivered"
    assert "2 items" in caplog.text
