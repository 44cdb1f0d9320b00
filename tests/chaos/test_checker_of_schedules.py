"""The same of schedules, pauses and limits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.storm.evidence import Event
from tests.chaos.story import Story, at, of_schedule, sound


def _schedule(story: Story) -> None:
    """Another one, of three occurrences, after the first."""
    story.schedule(30, 2, until=32)
    for due in (30, 31, 32):
        story.tick(due, due, 2)


def _occurrence_lost(story: Story) -> None:
    _schedule(story)
    del story.log[-2]


def _occurrence_lost_before_a_cancel(story: Story) -> None:
    _schedule(story)
    del story.log[-2]
    story.unschedule(33)


def _last_occurrence_lost(story: Story) -> None:
    _schedule(story)
    del story.log[-1]


def _skipped_beside_the_record(story: Story) -> None:
    story.rows = [row for row in story.rows if row["outcome"] != "skipped"]


def _occurrence_twice(story: Story) -> None:
    _schedule(story)
    story.tick(33, 31, 2)


def _run_and_skipped(story: Story) -> None:
    _schedule(story)
    story.settle("skipped", 31, 2, error=f"since they were missed: 1, from {at(31)} on")


def _no_time_of_the_rule(story: Story) -> None:
    _schedule(story)
    story.tick(33, 31.5, 2)


def _occurrence_early(story: Story) -> None:
    story.schedule(30, 2, until=30)
    story.tick(29.9, 30, 2)


def _set_again_and_counted(story: Story) -> None:
    story.schedule(30, 2, until=32)
    story.schedule(30.5, 3, until=32)
    for due in (31, 32):
        story.tick(due, due, 3)
    story.tick(30.6, 30, 3)


def _set_again_and_doubled(story: Story) -> None:
    _schedule(story)
    story.schedule(32.5, 3, until=32, plan="another")
    story.log[-1]["first"] = at(31)


def _ran_after_its_cancel(story: Story) -> None:
    story.schedule(30, 2, until=99)
    story.unschedule(31.5)
    story.tick(31, 30, 2)


def _started_after_its_cancel(story: Story) -> None:
    story.schedule(30, 2, until=99)
    story.unschedule(30.5)
    story.start(31, "r", "2-30", 30, schedule="s", set_number=2)
    story.tell("superseded", 31.1, run="r")


def _failure_of_a_schedule_uncounted(story: Story) -> None:
    _schedule(story)
    story.settle("failed", 31, 2)


def _failure_of_a_schedule_counted_twice(story: Story) -> None:
    story.settle("failed", 21)


def _schedule_beside_the_alarm(story: Story) -> None:
    story.order(30, "z", due=30)
    story.start(30, "r", "z", due=30)
    story.unlock(30.1, "r", "z")
    story.schedule(31, 2, until=31)
    story.tick(31, 31, 2)
    story.end(32, "r", "z", due=30, started=30)


def _started_while_paused(story: Story) -> None:
    story.tell("pausing", 28, target="o", seconds=12)
    story.tell("paused", 29, target="o")
    _schedule(story)
    story.tell("resuming", 35, target="o")


def _started_while_everything_is_paused(story: Story) -> None:
    story.tell("pausing", 28, target="everything", seconds=12)
    story.tell("paused", 29, target="everything")
    _schedule(story)
    story.tell("resuming", 35, target="everything")


def _one_too_many_at_a_time(story: Story) -> None:
    for number in range(3):
        story.tell("start", 30 + number / 10, **_alone(number, "FewSubject"))
    for number in range(3):
        story.tell("superseded", 31, run=f"alone{number}")


def _too_many_in_a_second(story: Story) -> None:
    for number in range(4):
        story.tell("start", 30 + number / 10, **_alone(number, "PacedSubject"))
        story.tell("superseded", 30.05 + number / 10, run=f"alone{number}")


def _alone(number: int, kind: str) -> Event:
    """The start of a run of an object of its own, of a schedule of which nothing else is known."""
    of = {"run": f"alone{number}", "object": f"o{number}", "kind": kind, "token": f"alone{number}", "retry": 0}
    return of | {"at": at(30 + number / 10), "scheduled": at(30), **of_schedule(9)}


@pytest.mark.parametrize(
    ("broken", "rules"),
    [
        (_occurrence_lost, {"lost"}),
        (_occurrence_lost_before_a_cancel, {"lost"}),
        (_last_occurrence_lost, {"lost"}),
        (_skipped_beside_the_record, {"lost"}),
        (_occurrence_twice, {"repeated"}),
        (_run_and_skipped, {"repeated"}),
        (_no_time_of_the_rule, {"unarmed"}),
        (_occurrence_early, {"early"}),
        (_set_again_and_counted, {"repeated"}),
        (_set_again_and_doubled, {"repeated"}),
        (_ran_after_its_cancel, {"unarmed"}),
        (_started_after_its_cancel, {"cancelled"}),
        (_failure_of_a_schedule_uncounted, {"miscounted"}),
        (_failure_of_a_schedule_counted_twice, {"miscounted"}),
        (_schedule_beside_the_alarm, {"overlapping"}),
        (_started_while_paused, {"paused"}),
        (_started_while_everything_is_paused, {"paused"}),
        (_one_too_many_at_a_time, {"crowded"}),
        (_too_many_in_a_second, {"crowded"}),
    ],
)
def test_each_broken_promise_is_named(broken: Callable[[Story], None], rules: set[str]) -> None:
    """A sound history with one broken promise in it is judged to break that one, and no other."""
    story = sound()
    broken(story)
    assert story.judged() == rules


def test_a_pause_that_is_over_holds_nothing() -> None:
    """What starts before the drain has ended, after the resume, or after the end of the pause, is sound."""
    story = sound()
    story.tell("pausing", 26, target="o", seconds=3)
    story.tell("paused", 27, target="o")
    story.tell("pausing", 29.5, target="o", seconds=9)
    story.tell("paused", 32.5, target="o")
    _schedule(story)
    story.tell("resuming", 33, target="o")
    assert story.judged() == set()


def test_what_was_to_be_retried_is_not_lost_by_a_cancel() -> None:
    """The occurrence that stands for those that were skipped after it does not run any more once that is cancelled."""
    story = sound()
    story.schedule(30, 2, until=99)
    story.tick(30, 30, 2)
    story.settle("skipped", 32, 2, error=f"since they were missed: 3, from {at(32)} on")
    story.unschedule(35)
    assert story.judged() == set()


def test_a_change_while_a_run_is_outside_lets_that_run_end() -> None:
    """A run that was unlocked when its schedule was changed ends as the old one, and the occurrence runs again."""
    story = sound()
    story.schedule(30, 2, until=31)
    story.start(30, "r", "2-30", 30, schedule="s", set_number=2)
    story.log.append({"op": "begin", "token": "2-30", "run": "r", **of_schedule(2)})
    story.tell("out", 30.1, run="r", id=1, fence=1)
    story.schedule(30.2, 3, until=31, plan="another")
    story.log[-1]["first"] = at(30)
    story.log.append({"op": "done", "token": "2-30", "run": "r", "retry": 0, "at": at(30), **of_schedule(2)})
    story.tell("end", 30.5, run="r")
    story.tick(30.6, 30, 3)
    story.tick(31, 31, 3)
    assert story.judged() == set()
