"""Batcher: a day of simulated outages, after which the books must balance."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from batcher.models import Batch, Batcher
from durable_objects.tables import Alarm, AlarmRun
from durable_objects.testing import FakeClock, run_due_alarms
from tests.support.flaky_upstream import TIMEOUT, FlakyUpstream
from tests.support.upstream import Upstream

pytestmark = pytest.mark.django_db

START = datetime(2031, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SEED = int(os.environ.get("OUTAGE_SEED", "20310301"))


class OutageDay:
    """Batchers on several upstreams with a bad day each; ``added`` is what each was given, in order."""

    def __init__(self, stack: ExitStack, clock: FakeClock, batchers: int, adds: int, upstreams: int) -> None:
        self.random, self.clock, self.adds = Random(SEED), clock, adds
        servers = [stack.enter_context(Upstream()) for _ in range(upstreams)]
        self.weathers = [FlakyUpstream(Random(self.random.random()), clock.now, list(self._outages())) for _ in servers]
        for upstream, weather in zip(servers, self.weathers, strict=True):
            upstream.answer_to = weather.answer
        self.batchers = [Batcher.objects.get_by_name(f"b{number}") for number in range(batchers)]
        self.added: dict[str, list[Any]] = {batcher.name: [] for batcher in self.batchers}
        for number, batcher in enumerate(self.batchers):
            url = f"{servers[number % upstreams].url}/{batcher.name}"
            batcher.configure(upstream_url=url, max_items=6, give_up_after=timedelta(hours=4))

    def pass_by(self) -> None:
        """Items come in all day long; then the weather clears, and everything ends."""
        moments = sorted(
            (START + DAY * self.random.random(), number)
            for number in range(len(self.batchers))
            for _ in range(self.adds)
        )
        for moment, number in moments:
            self._follow(moment)
            self._add(self.batchers[number])
        self._follow(START + DAY)
        for weather in self.weathers:
            weather.is_over = True
        self._follow(START + DAY * 3)

    def _outages(self) -> Iterator[tuple[datetime, datetime]]:
        """A long one, over which batches are given up, and two short ones."""
        for minutes in (self.random.randint(260, 400), 20, 3):
            start = START + DAY * self.random.random()
            yield start, start + timedelta(minutes=minutes)

    def _add(self, batcher: Batcher) -> None:
        known = self.added[batcher.name]
        items = [[batcher.name, len(known) + more] for more in range(self.random.randint(1, 9))]
        batcher.add_items(items)
        known.extend(items)

    def _follow(self, until: datetime) -> None:
        armed = Alarm.objects.filter(state=Alarm.State.ARMED).order_by("due_at")
        while (due := armed.values_list("due_at", flat=True).first()) is not None and due <= until:
            self.clock.move_to(max(due, self.clock.now()))
            run_due_alarms(limit=10_000)
        self.clock.move_to(until)


def judge(day: OutageDay) -> dict[str, int]:
    """Check every promise against what the upstreams have seen; the counts."""
    counts: Counter[str] = Counter()
    for number, batcher in enumerate(day.batchers):
        weather, kept = day.weathers[number % len(day.weathers)], []
        for batch in Batch.objects.filter(batcher_id=batcher.pk).order_by("first_item"):
            key, refused = str(batch.pk), batch.outcomes
            failed = (
                []
                if batch.status == "delivered"
                else [*(map(str, range(batch.item_count)) if refused is None else refused)]
            )
            delivered = {place for place in range(batch.item_count) if str(place) not in failed}
            kept += batch.items
            assert batch.status in {"delivered", "failed"}
            assert len(failed) == batch.failed_items
            assert delivered <= weather.taken[key], "shown as delivered, but the upstream does not have it"
            assert len(weather.seen[key]) <= batch.attempts
            for body in weather.seen[key]:
                assert json.loads(body)["items"] == batch.items, "a key with two contents"
            counts += Counter(delivered=len(delivered), failed=len(failed), batches=1, posts=len(weather.seen[key]))
            counts += Counter(given_up=batch.status == "failed", unknown=batch.outcome_unknown)
        # Each item once, in the order in which it came: no item is lost, doubled, or under two keys.
        assert kept == day.added[batcher.name]
        assert (batcher.queued(), batcher.get_alarm_time()) == (0, None)
        counts += Counter(accepted=len(kept))
    assert counts["accepted"] == counts["delivered"] + counts["failed"]
    assert sum(len(weather.seen) for weather in day.weathers) <= counts["batches"]
    return dict(counts)


def bad_day(settings: Any, batchers: int, adds: int, upstreams: int) -> None:
    """Let it pass, judge it, print what was counted."""
    settings.BATCHER = {"TIMEOUT": TIMEOUT}
    with ExitStack() as stack, FakeClock(START) as clock:
        day = OutageDay(stack, clock, batchers, adds, upstreams)
        day.pass_by()
        counts = judge(day)
    answers = sum((Counter(weather.answers) for weather in day.weathers), Counter())
    print(f"\nseed {SEED}, {batchers} batchers: {counts}; answers {dict(answers)}")
    assert set(AlarmRun.objects.values_list("outcome", flat=True)) == {"succeeded"}
    assert counts["failed"], "the day was not bad enough to prove anything"
    assert answers["unknown"] + answers["half unknown"], "nor was it here"


@pytest.mark.slow
def test_a_day_of_outages(settings: Any) -> None:
    """After a day of 5xx, 429, time-outs, resets and 207s: accepted = delivered + failed and kept, nothing waits, no
    item is under two keys, order is kept within each batch, and the upstream has what is shown as delivered.
    """
    bad_day(settings, batchers=3, adds=4, upstreams=1)


@pytest.mark.chaos
def test_a_day_of_outages_for_200_batchers(settings: Any) -> None:
    """The same, for 200 batchers."""
    bad_day(settings, batchers=200, adds=4, upstreams=8)
