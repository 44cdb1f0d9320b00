"""A history written by hand, of one subject, that the checker accepts; tests break promises in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.chaos.storm.checker import check
from tests.chaos.storm.evidence import Event, Evidence

BEGAN = datetime(2030, 1, 1, tzinfo=UTC)


def at(seconds: float) -> str:
    """The database's clock, so many seconds after the beginning."""
    return (BEGAN + timedelta(seconds=seconds)).isoformat()


class Story:
    """What happened to one subject, told in order; ``m`` is also the database's time."""

    def __init__(self) -> None:
        self.history: list[Event] = []
        self.log: list[Event] = []
        self.rows: list[Event] = []
        self.own: list[str] = []

    def tell(self, what: str, m: float, **fields: Any) -> None:
        """An event of any process."""
        self.history.append({"e": what, "m": m, "pid": 7, "role": "worker", **fields})

    def order(self, m: float, token: str, due: float, fail: int = 0) -> None:
        """Set the alarm; acknowledged at once."""
        self.log.append({"op": "set", "token": token, "call": token, "at": at(due), "fail": fail})
        self.tell("ok", m, id=token, op="set", object="o", number=len(self.log))

    def cancel(self, m: float) -> None:
        """Take it away; acknowledged at once."""
        self.log.append({"op": "cancel", "call": f"cancel {m}"})
        self.tell("ok", m, id=f"cancel {m}", op="cancel", object="o", number=len(self.log))

    def start(self, m: float, run: str, token: str, due: float, *, retry: int = 0, pid: int = 7, **of: Any) -> None:
        """The handler begins."""
        named = {"run": run, "object": "o", "kind": "Subject", "token": token, "pid": pid} | of
        self.tell("start", m, at=at(m), scheduled=at(due), retry=retry, **named)

    def unlock(self, m: float, run: str, token: str, fence: int = 1) -> None:
        """It lets go of the object."""
        self.log.append({"op": "begin", "token": token, "run": run})
        self.tell("out", m, run=run, id=1, fence=fence)

    def end(self, m: float, run: str, token: str, due: float, retry: int = 0, *, started: float) -> None:
        """It ends well, and commits."""
        self.log.append({"op": "done", "token": token, "run": run, "retry": retry})
        self.tell("end", m, run=run)
        self.row("succeeded", due, retry, started, due)

    def fail(self, m: float, run: str, due: float, retry: int = 0, *, started: float) -> None:
        """It raises as planned, and that is counted."""
        self.tell("raise", m, run=run, planned=True)
        self.row("failed", due, retry, started, due)

    def schedule(self, m: float, number: int, *, every: float = 1, until: float = 0, plan: str = "") -> None:
        """Set the schedule ``s``, whose first time is at ``m``; acknowledged at once."""
        end = (BEGAN + timedelta(seconds=until)).timestamp()
        rule = {"rule": f"{every} until {until}", "every": every, "end": end, "first": at(m), "plan": plan}
        self._asked(m, {"op": "schedule", "set_number": number, **rule})

    def unschedule(self, m: float) -> None:
        """Cancel it; acknowledged at once."""
        self._asked(m, {"op": "unschedule"})

    def _asked(self, m: float, entry: Event) -> None:
        self.log.append({"schedule": "s", "call": f"{m}", **entry})
        self.tell("ok", m, id=f"{m}", op=entry["op"], object="o", number=len(self.log))

    def tick(self, m: float, due: float, number: int = 1, retry: int = 0) -> None:
        """A run of the schedule, in which the object stays locked, begins and ends well."""
        key, run = f"{number}-{due}", f"{number}-{due}-{m}"
        self.start(m, run, key, due, retry=retry, schedule="s", set_number=number)
        self.log.append({"op": "done", "token": key, "run": run, "retry": retry, "at": at(due), **of_schedule(number)})
        self.tell("end", m + 0.1, run=run)

    def settle(self, outcome: str, due: float, number: int = 1, retry: int = 0, error: str = "") -> None:
        """The history has a row of this occurrence."""
        self.row(outcome, due, retry, due, due, error=error, **of_schedule(number))

    def row(self, outcome: str, due: float, retry: int, started: float, scheduled: float, **more: Any) -> None:
        """The history has a row."""
        when = {"scheduled": at(scheduled), "due": at(due), "started": at(started)}
        of = {"schedule": "", "set_number": 0, "error": ""}
        self.rows.append({"object": "o", "outcome": outcome, "retry": retry, **when, **of, **more})

    def judged(self) -> set[str]:
        """The names of the broken promises."""
        self.history.sort(key=lambda event: float(event["m"]))
        evidence = Evidence(self.history, {"o": self.log}, self.rows, own={"o": self.own})
        return {found.rule for found in check(evidence)}

    def mark(self, mark: str) -> None:
        """The latest entry of the log has a row of the user's own."""
        self.log[-1]["mark"] = mark
        self.own.append(mark)


def of_schedule(number: int) -> Event:
    """What names a schedule's occurrence in all that is written of it."""
    return {"schedule": "s", "set_number": number}


def sound() -> Story:
    """An order that fails once and ends, a second that is replaced, a third that unlocks and ends, a cancel."""
    story = Story()
    story.order(0, "a", due=1, fail=1)
    story.start(1.1, "r1", "a", due=1)
    story.fail(1.2, "r1", due=1, started=1.1)
    story.start(3.3, "r2", "a", due=1, retry=1)
    story.end(3.4, "r2", "a", due=1, retry=1, started=3.3)
    story.order(4, "b", due=9)
    story.order(5, "c", due=6)
    story.start(6, "r3", "c", due=6)
    story.unlock(6.1, "r3", "c")
    story.tell("in", 7, run="r3")
    story.end(7.1, "r3", "c", due=6, started=6)
    story.order(8, "d", due=9)
    story.mark("d")
    story.cancel(8.5)
    _sound_schedule(story)
    return story


def _sound_schedule(story: Story) -> None:
    """Six occurrences: one runs, one fails and is retried, three are skipped, the last is dead."""
    story.schedule(20, 1, until=25)
    story.schedule(20.05, 1, until=25)
    story.log[-1]["first"] = at(20)
    story.tick(20.1, 20)
    story.start(21, "failing", "1-21", 21, schedule="s", set_number=1)
    story.tell("raise", 21.1, run="failing", planned=True)
    story.settle("failed", 21)
    story.tick(23.2, 21, retry=1)
    story.settle("skipped", 22, error=f"skipped of schedule 's', since they were missed: 3, from {at(22)} on")
    story.start(25, "dead", "1-25", 25, schedule="s", set_number=1)
    story.tell("raise", 25.1, run="dead", planned=False, gave_up=True)
    story.settle("dead", 25)
