"""Digests under random programs: reminders that are set, snoozed, edited, cancelled, hurried, refused, failing, beside
crashes and a digest that is deleted. Whatever comes: nothing is lost, doubled, early, or sent after its end.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from durable_objects import now
from durable_objects.execution.executor import fire
from durable_objects.operations import actions
from durable_objects.tables import Alarm
from durable_objects.testing import FakeClock, SimulatedCrash, crash_at, run_due_alarms
from reminders.channels import Message, Refused, TryLater
from reminders.digests import Digest
from reminders.models import Plan, Recipient, Reminder
from tests.support.examples import examples
from tests.support.sent_messages import Sent

EXAMPLES = examples(6)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
NAMES = range(4)
#: A wait is as many runs, so that what fails is tried again.
WAITS = 4
#: Between the sending and its record nobody can tell: a crash there sends again. At all others it must not.
POINTS = ["firing.before_handler", "reminders.digest_on_record", "reminders.digest_sent", "turn.before_commit",
          "turn.after_commit", "reminders.delivered"]  # fmt: skip
_numbers = count()

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from(NAMES), st.integers(0, 90)),
        st.tuples(st.just("set"), st.sampled_from(NAMES), st.integers(0, 90)),
        st.tuples(st.sampled_from(["snooze", "wait"]), st.sampled_from(NAMES), st.integers(1, 150)),
        st.tuples(st.sampled_from(["text", "urgent", "cancel", "hurry"]), st.sampled_from(NAMES), st.just(0)),
        st.tuples(st.sampled_from(["fail", "refuse", "later", "hurry while sent"]), st.just(0), st.integers(1, 9)),
        st.tuples(st.sampled_from(["wait", "wait"]), st.just(0), st.integers(60, 90)),
        st.tuples(st.just("crash"), st.integers(0, len(POINTS) - 1), st.integers(1, 70)),
        st.tuples(st.just("lose the digest"), st.just(0), st.just(0)),
    ),
    min_size=4,
    max_size=30,
)


@dataclass
class Program:
    """One person's reminders, what was asked of them, and what the receiver accepted of them."""

    clock: FakeClock
    person: str
    answers: deque[str] = field(default_factory=deque)
    #: The text of each reminder that is to come, and when it is due.
    present: dict[int, str] = field(default_factory=dict)
    due: dict[int, datetime] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    accepted: dict[str, str] = field(default_factory=dict)
    lists: dict[str, set[str]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def receive(self, message: Message) -> None:
        """Accept a message, or do what the program has in store; judge what comes."""
        parts = message.items or (message,)
        keys = {part.key for part in parts}
        self.judge(keys <= self.lists.setdefault(message.key, keys), "a retry has something new")
        answer = self.answers.popleft() if self.answers else "accept"
        if answer == "fail":
            raise OSError
        if answer == "hurry while sent" and message.items:
            for reminder in Reminder.objects.filter(pk__in=Plan.objects.in_digest(self.person).values("pk")):
                actions.fire_now(reminder)
                assert reminder.pk
                fire(reminder.pk)
        if answer == "refuse" and message.items:
            raise Refused
        if answer == "later":
            raise TryLater(after=MINUTE)
        for part in parts:
            self.accept(part)

    def accept(self, part: Message) -> None:
        """Note that the receiver has this reminder now, by itself or in a digest."""
        self.judge(part.key not in self.accepted, f"doubled: {part.text}")
        self.accepted[part.key] = part.text
        numbers = [number for number, text in self.present.items() if part.text == text]
        self.judge(bool(numbers), f"after its end: {part.text}")
        for number in numbers:
            self.judge(self.due[number] <= now(), f"early: {part.text}")
            self.end(number)

    def judge(self, holds: object, violation: str) -> None:
        """Keep a violation: what is raised in a channel is a failed delivery."""
        if not holds:
            self.violations.append(violation)

    def reminder(self, number: int) -> Reminder:
        return Reminder.objects.get_by_name(f"{self.person}/{number}")

    def end(self, number: int) -> None:
        if number in self.present:
            self.ended.add(self.present.pop(number))

    def step(self, verb: str, number: int, amount: int) -> None:
        """Do one step of the program."""
        if verb in {"fail", "refuse", "later", "hurry while sent"}:
            self.answers.extend([verb] * amount)
        elif verb == "wait":
            self.pass_time(amount * MINUTE)
        elif verb == "crash":
            self.clock.advance(amount * MINUTE)
            try:
                with crash_at(POINTS[number]):
                    run_due_alarms()
            except SimulatedCrash:
                pass
            self.pass_time(MINUTE)
        elif verb == "lose the digest":
            Digest.objects.filter(name=self.person).delete()
        elif verb == "set":
            self.end(number)
            text, at = f"text {next(_numbers)}", now() + amount * MINUTE
            self.present[number], self.due[number] = text, at
            self.reminder(number).set_reminder(text, at, person=self.person)
        elif number in self.present:
            self.change(verb, number, amount)

    def change(self, verb: str, number: int, amount: int) -> None:
        """Change one that is set."""
        reminder = self.reminder(number)
        if verb == "snooze":
            self.due[number] = reminder.snooze(amount * MINUTE)
        elif verb == "text":
            text = f"text {next(_numbers)}"
            reminder.edit_reminder(message=text)
            self.end(number)
            self.present[number] = text
        elif verb == "urgent":
            reminder.edit_reminder(urgent=True)
        elif verb == "cancel":
            assert reminder.cancel()
            self.end(number)
        else:
            self.due[number] = now()
            actions.fire_now(reminder)
            self.pass_time(timedelta(0))

    def pass_time(self, by: timedelta) -> None:
        for _ in range(WAITS):
            self.clock.advance(by / WAITS)
            run_due_alarms()


@pytest.mark.django_db(transaction=True)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.generate],  # to make a program shorter takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(first=st.sampled_from(["accept", "fail", "refuse", "later", "hurry while sent"]), steps=STEPS)
def test_each_comes_once(alarm_clock: FakeClock, sent: Sent, first: str, steps: list[tuple[str, int, int]]) -> None:
    """What is set and not ended comes once, at its time or later, and a retry of a digest has nothing new."""
    program = Program(alarm_clock, f"person {next(_numbers)}")
    sent.act = program.receive
    Recipient.objects.create(name=program.person, digest_window=HOUR)
    for number in NAMES[1:]:
        program.step("set", number, 0)
    program.answers.append(first)
    program.pass_time(HOUR)
    for step in steps:
        program.step(*step)
    program.answers.clear()
    for _ in range(12):
        program.pass_time(HOUR)
        for reminder in Reminder.objects.filter(alarm_row__state=Alarm.State.DEAD):
            actions.revive(reminder)
    assert program.violations == []
    assert program.present == {}, "lost"
    assert not Plan.objects.filter(state=Plan.State.SET).exists()
    assert set(program.accepted.values()) <= program.ended
