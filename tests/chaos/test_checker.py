"""The checker of the random run on histories written by hand: it accepts a sound one, and names each broken promise."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.story import Story, at, sound


def test_a_sound_history_is_accepted() -> None:
    """What keeps every promise breaks none."""
    assert sound().judged() == set()


def _lost(story: Story) -> None:
    story.order(10, "z", due=11)


def _not_in_the_log(story: Story) -> None:
    story.tell("ok", 10, id="z", op="set", object="o", number=99)


def _refused_and_done(story: Story) -> None:
    story.order(10, "z", due=11)
    story.cancel(10.5)
    story.tell("refused", 10.6, id="z")


def _caller_failed(story: Story) -> None:
    story.tell("failed", 10, id="z", error="OperationalError")


def _early(story: Story) -> None:
    story.order(10, "z", due=12)
    story.start(11.9, "r", "z", due=12)
    story.end(12.1, "r", "z", due=12, started=12)


def _retry_early(story: Story) -> None:
    story.order(10, "z", due=10, fail=1)
    story.start(10, "r", "z", due=10)
    story.fail(10.1, "r", due=10, started=10)
    story.start(11.5, "s", "z", due=10, retry=1)
    story.end(11.6, "s", "z", due=10, retry=1, started=11.5)


def _after_the_cancel(story: Story) -> None:
    story.order(10, "z", due=11)
    story.cancel(10.5)
    story.start(11, "r", "z", due=11)
    story.tell("superseded", 11.1, run="r")


def _committed_after_the_cancel(story: Story) -> None:
    story.order(10, "z", due=10)
    story.cancel(10.5)
    story.start(10.4, "r", "z", due=10)
    story.end(11.1, "r", "z", due=10, started=10.4)


def _two_at_once(story: Story) -> None:
    story.order(10, "z", due=11)
    story.start(11, "r", "z", due=11)
    story.unlock(11.1, "r", "z")
    story.start(12, "s", "z", due=11, pid=8)
    story.unlock(12.1, "s", "z", fence=2)
    story.tell("superseded", 13, run="r")
    story.end(14, "s", "z", due=11, started=12)


def _stale(story: Story) -> None:
    _two_at_once(story)
    story.tell("fault", 12, kind="worker paused", part="worker", begin=11.2, end=12.5, pids=[7])
    story.end(15, "r", "z", due=11, started=11)


def _renewed(story: Story) -> None:
    _two_at_once(story)
    story.tell("fault", 12, kind="worker paused", part="worker", begin=11.2, end=12.5, pids=[7])
    story.tell("renewed", 11.9, id=1, fence=1, until=at(16))


def _counted_too_often(story: Story) -> None:
    story.order(10, "z", due=10)
    story.start(10, "r", "z", due=10, retry=1)
    story.end(10.1, "r", "z", due=10, retry=1, started=10)


def _counted_afresh(story: Story) -> None:
    story.order(10, "z", due=10, fail=2)
    for m in (10, 12.5):
        story.start(m, f"r{m}", "z", due=10)
        story.fail(m + 0.1, f"r{m}", due=10, started=m)
    story.cancel(13)


def _two_contents(story: Story) -> None:
    story.tell("post", 10, key="k", content="one", items=["i"])
    story.tell("post", 11, key="k", content="two", items=["i"])


def _two_keys(story: Story) -> None:
    story.tell("post", 10, key="k", content="one", items=["i"])
    story.tell("post", 11, key="l", content="one", items=["i"])


def _item_lost(story: Story) -> None:
    story.tell("ok", 10, id="i", op="item", item="i")


def _bred(story: Story) -> None:
    for number in range(40):
        story.tell("sent", 10 + number / 10, id=1, wake_up_number=number, waits=0)


def _sent_on(story: Story) -> None:
    for number in range(18):
        story.tell("taken", 10 + number / 10, id=1, wake_up_number=number, waits=0, shared=True, role="dispatcher")
        story.tell("sent", 10.05 + number / 10, id=1, wake_up_number=number, waits=0)


def _filled(story: Story) -> None:
    for number in range(40):
        story.tell("taken", 10 + number, id=2, wake_up_number=5, waits=0, role="dispatcher")


def _ended(story: Story) -> None:
    story.tell("ended", 10, name="worker-threads", process=7, code=1, log="Unrecoverable error")


def _ended_after_a_childs_kill(story: Story) -> None:
    story.tell("killed", 9, point="turn.before_commit", pid=8)
    story.tell("fault", 9, kind="pool child killed", part="worker", begin=8.9, end=9.1, pids=[8])
    story.tell("ended", 10, name="worker-prefork", process=7, code=0, log="")


def _dead(story: Story) -> None:
    story.order(10, "z", due=10)
    story.start(10, "r", "z", due=10)
    story.log.append({"op": "died", "token": "z", "retry": 0})
    story.tell("raise", 11, run="r", planned=False)
    story.row("dead", due=10, retry=0, started=10, scheduled=10)


def _own_row_missing(story: Story) -> None:
    story.own.clear()


def _only_the_own_row(story: Story) -> None:
    story.own.append("another")


def _stuck(story: Story) -> None:
    story.order(10, "z", due=11)
    story.start(200, "r", "z", due=11)
    story.end(201, "r", "z", due=11, started=200)


@pytest.mark.parametrize(
    ("broken", "rules"),
    [
        (_lost, {"lost"}),
        (_not_in_the_log, {"lost"}),
        (_refused_and_done, {"refused"}),
        (_caller_failed, {"caller"}),
        (_early, {"early"}),
        (_retry_early, {"early"}),
        (_after_the_cancel, {"cancelled"}),
        (_committed_after_the_cancel, {"unarmed"}),
        (_two_at_once, {"overlapping"}),
        (_stale, {"overlapping", "repeated"}),
        (_renewed, {"overlapping"}),
        (_counted_too_often, {"miscounted"}),
        (_counted_afresh, {"miscounted"}),
        (_two_contents, {"contents"}),
        (_two_keys, {"contents"}),
        (_item_lost, {"lost"}),
        (_bred, {"bred"}),
        (_sent_on, set()),
        (_filled, {"filled"}),
        (_ended, {"ended"}),
        (_ended_after_a_childs_kill, {"ended"}),
        (_dead, {"dead"}),
        (_own_row_missing, {"differ"}),
        (_only_the_own_row, {"differ"}),
        (_stuck, {"stuck"}),
    ],
)
def test_each_broken_promise_is_named(broken: Callable[[Story], None], rules: set[str]) -> None:
    """A sound history with one broken promise in it is judged to break that one, and no other."""
    story = sound()
    broken(story)
    assert story.judged() == rules


def test_what_was_killed_on_purpose_has_not_ended_by_itself() -> None:
    """A process that dies at a crash point, or of its own handler's poison, is no broken promise."""
    story = sound()
    story.tell("killed", 9, point="turn.before_commit", pid=7)
    story.tell("ended", 10, name="worker-threads", process=7, code=-9, log="")
    assert story.judged() == set()


def test_a_fault_excuses_the_run_that_it_hit() -> None:
    """A run that was stopped past its lease may be replaced while it believes to run."""
    story = sound()
    _two_at_once(story)
    story.tell("fault", 12, kind="worker paused", part="worker", begin=11.2, end=12.5, pids=[7])
    assert story.judged() == set()


@pytest.mark.parametrize(
    ("kind", "rules"),
    [
        ("worker killed", set()),
        ("worker ended", set()),
        ("no worker", set()),
        ("worker paused", {"overlapping"}),
    ],
)
def test_who_is_gone_has_no_lease_any_more(kind: str, rules: set[str]) -> None:
    """A new ``up`` may run at once what those that have ended had leased, and not what those have that are stopped."""
    story = sound()
    _two_at_once(story)
    story.tell("fault", 12, kind=kind, part="worker", begin=11.2, end=12.5, pids=[7])
    story.tell("renewed", 11.9, id=1, fence=1, until=at(16))
    assert story.judged() == rules
