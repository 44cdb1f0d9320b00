"""Reminders that are snoozed, skipped, edited, failing and left alone for days, against a model of twenty lines."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durable_objects import InvalidInput
from durable_objects.testing import FakeClock
from reminders.channels import Message
from reminders.models import Reminder
from reminders.recurrence import Series
from tests.support.examples import examples
from tests.support.passing_time import outcomes
from tests.support.recurrence_by_dateutil import ZONES, expand, rules, starts
from tests.support.sent_messages import Sent

EXAMPLES = examples(8)
_numbers = count()

STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["wait", "wait", "outage", "snooze"]), st.integers(1, 4000)),
        st.tuples(st.sampled_from(["skip", "edit", "fail"]), st.just(0)),
    ),
    min_size=3,
    max_size=25,
)


@dataclass
class Model:
    """What should happen: a list of moments, where in it we are, and when that one is to be delivered."""

    moments: Sequence[datetime]
    place: int = 0
    next_at: datetime | None = None
    delivered: list[datetime] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.next_at = self.moments[0]

    def go_on(self, now: datetime) -> None:
        """To the first moment that is later than this one and than now."""
        self.place = bisect_right(self.moments, max(self.moments[self.place], now))
        self.next_at = self.moments[self.place] if self.place < len(self.moments) else None

    def run(self, now: datetime, settled: datetime) -> None:
        """What is due is delivered, once, and was by ``settled``."""
        if self.next_at is not None and self.next_at <= now:
            self.delivered.append(self.next_at)
            self.go_on(settled)


class World:
    """A reminder and its model under one clock: each step is done to both."""

    def __init__(self, clock: FakeClock, sent: Sent, moments: Sequence[datetime]) -> None:
        self.clock, self.sent, self.model = clock, sent, Model(moments)
        self.reminder = Reminder.objects.get_by_name(f"r{next(_numbers)}")
        self.fails = False
        sent.clear()
        sent.act = self.receive

    def receive(self, message: Message) -> None:
        """The channel: never early, and once in a while it fails."""
        assert message.planned_at <= self.clock.now()
        if self.fails:
            self.fails = False
            self.sent.pop()
            raise OSError("once")

    def wait(self, span: timedelta) -> None:
        """Time passes, and workers run."""
        self.outage(span)
        due = self.clock.now()
        if outcomes(self.clock) == ["failed"]:
            assert outcomes(self.clock, timedelta(seconds=2)) == ["succeeded"]
        self.model.run(due, self.clock.now())

    def outage(self, span: timedelta) -> None:
        """Time passes, and nobody runs."""
        self.clock.advance(span)

    def snooze(self, span: timedelta) -> None:
        """What comes next is put off."""
        assert self.model.next_at is not None
        self.model.next_at = max(self.model.next_at, self.clock.now()) + span
        assert self.reminder.snooze(span) == self.model.next_at

    def skip(self, span: timedelta) -> None:
        """What comes next is left out."""
        self.model.go_on(self.clock.now())
        assert self.reminder.skip() == self.model.next_at

    def edit(self, span: timedelta) -> None:
        """The text is another one."""
        self.reminder.edit_reminder(message="n")

    def fail(self, span: timedelta) -> None:
        """The next delivery fails at first."""
        self.fails = True

    def compare(self) -> None:
        """Both have the same to come."""
        state = self.reminder.get_reminder()
        assert (state["next_at"] if state else None) == self.model.next_at


@pytest.mark.django_db
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), rule=rules(), zone=st.sampled_from(ZONES), steps=STEPS)
def test_a_reminder_does_as_the_model(
    data: st.DataObject, rule: str, zone: str, steps: list[tuple[str, int]], sent: Sent
) -> None:
    """Whatever is done to it: each occurrence once, at its time or late, never early, under a key of its own."""
    start = data.draw(starts(zone))
    if not _has_any(start, rule, zone):
        return
    moments, complete = expand(start, rule, zone, 3000 if "HOURLY" in rule else 300)
    with FakeClock(start - timedelta(hours=1)) as clock:
        world = World(clock, sent, moments)
        world.reminder.set_reminder("m", start, recurrence=rule, time_zone=zone)
        for verb, minutes in steps:
            span, next_at = timedelta(minutes=minutes), world.model.next_at
            if next_at is None or (complete and max(clock.now(), next_at) + span * 2 > complete):
                break
            getattr(world, verb)(span)
            world.compare()
        assert [message.planned_at for message in sent] == world.model.delivered
        assert len({message.key for message in sent}) == len(sent)
        world.reminder.delete()


def _has_any(start: datetime, rule: str, zone: str) -> bool:
    """Whether the rule comes at all: dateutil's own search takes seconds to say no."""
    try:
        return Series(start, rule, zone).first() is not None
    except InvalidInput:
        return False
