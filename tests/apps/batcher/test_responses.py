"""Batcher: how an upstream's answer is read."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from batcher.models import Batch, Batcher
from durable_objects.testing import FakeClock
from tests.support.passing_time import pass_time
from tests.support.upstream import Answer, Upstream

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
WINDOW = timedelta(seconds=10)


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
def test_other_4xx_fail_at_once(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, status: int) -> None:
    """An upstream that refuses a batch is not asked again, and newer items go on."""
    upstream.script(Answer(status, body=b"no such thing"))
    batcher.add_item("bad")
    pass_time(alarm_clock, WINDOW)
    batch = Batch.objects.get()
    assert (batch.status, batch.status_code, batch.answer, batch.attempts) == ("failed", status, "no such thing", 1)
    assert batcher.get_alarm_time() is None
    batcher.add_item("good")
    pass_time(alarm_clock, WINDOW)
    assert upstream.received[-1].items == ["good"]


@pytest.mark.parametrize("answer", [Answer(408), Answer(425), Answer(429), Answer(302), Answer(drop=True)], ids=repr)
def test_what_may_pass_is_tried_again(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, answer: Answer
) -> None:
    """408, 425, 429, a redirect and a connection that breaks are tried again."""
    upstream.script(answer)
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    assert Batch.objects.get().status == "open"
    pass_time(alarm_clock, SECOND * 2)
    assert Batch.objects.get().status == "delivered"


def test_a_refused_connection_is_tried_again(batcher: Batcher, alarm_clock: FakeClock) -> None:
    """With nobody listening the batch stays, with the error on record, and the caller who adds sees nothing of it."""
    with Upstream() as gone:
        batcher.configure(upstream_url=gone.url)
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    batch = Batch.objects.get()
    assert (batch.status, batch.status_code) == ("open", None)
    assert "ConnectError" in batch.answer
    with Upstream() as back:
        batcher.configure(upstream_url=back.url)
        pass_time(alarm_clock, SECOND * 2)
        assert back.items == ["a"]


def test_a_slow_upstream_is_left(batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, settings: Any) -> None:
    """An upstream that does not answer within TIMEOUT counts as a failed try."""
    settings.BATCHER = {"TIMEOUT": timedelta(milliseconds=100)}
    upstream.script(Answer(200, delay=0.3))
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    batch = Batch.objects.get()
    assert batch.status == "open"
    assert "Timeout" in batch.answer


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        ("30", SECOND * 30),
        ("1", SECOND * 2),
        ("0", SECOND * 2),
        ("date", SECOND * 45),
        ("99999999999999999999", timedelta(hours=1)),
        ("soon", SECOND * 2),
        ("-5", SECOND * 2),
        ("Wed, 21 Oct 1999 07:28:00 GMT", SECOND * 2),
    ],
)
def test_retry_after_is_obeyed_within_reason(
    batcher: Batcher, upstream: Upstream, alarm_clock: FakeClock, header: str, pause: timedelta
) -> None:
    """Retry-After, as seconds or a date, makes a pause longer, never shorter, and never longer than an hour."""
    alarm_clock.move_to(alarm_clock.now().replace(microsecond=0))
    if header == "date":
        header = format_datetime(alarm_clock.now() + WINDOW + pause, usegmt=True)
    upstream.script(Answer(503, headers={"Retry-After": header}))
    batcher.add_item("a")
    pass_time(alarm_clock, WINDOW)
    assert batcher.get_alarm_time() == alarm_clock.now() + pause
