"""The objects of the random run: each keeps in its own storage a log of what was committed, in its order.

An entry of the log is written by the turn that it tells of, so log and alarm commit together or not at all; what the
log says and what callers and handlers saw (``record``) must agree, and so must a model of the user's own, of which
each turn writes a row. The checker compares them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import connection, models, transaction

from durable_objects import AlarmInfo, GiveUp, RunSuperseded, exclusive, now
from durable_objects.database import clock
from durable_objects.models import DurableObject
from durable_objects.turns.transaction import unlocked_on
from durable_objects.turns.turn import Turn, open_turns
from tests.chaos.storm import record

#: Whether alarms that are due together share a transaction, and calls that are made at the same time.
TOGETHER = bool(os.environ.get("CHAOS_TOGETHER"))


#: What else a run may fail with than ``Planned``, which is an ``Exception``; and what its handler may leave behind in
#: its session of the database.
ENDINGS = {error.__name__: error for error in (asyncio.CancelledError, SystemExit, GeneratorExit)}
LEFT_BEHIND = {
    "read only": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "isolation": "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "idle time-out": "SET idle_session_timeout = 100",
}


class Planned(Exception):
    """The plan says that this run fails."""


class Mark(models.Model):
    """The user's own: a row for each entry of a subject's log, written by the same turn."""

    name = models.CharField(max_length=100)
    mark = models.CharField(max_length=32)


class Subject(DurableObject):
    """Does at its alarm what the plan of its last order says.

    A plan, all optional: ``hang`` so many seconds with the lock; ``pause`` so many without it; ``fail`` so many times,
    ``by`` one of ``ENDINGS``; go on ``again`` so many times, ``ahead`` seconds later; ``poison``: kill the process, so
    many times; ``leave`` one of ``LEFT_BEHIND``; ``undo`` what was written since a savepoint that is made by hand;
    ``give up``: dead at once.
    """

    class Meta:
        proxy = True

    alarm_groups = TOGETHER

    @exclusive(combine=TOGETHER)
    def set(self, call: str, in_seconds: float, plan: dict[str, Any]) -> int:
        """Set the alarm, with what to do then; the number of this entry of the log."""
        return self._arm(call, now() + timedelta(seconds=in_seconds), plan, call=call)

    @exclusive(combine=TOGETHER)
    def move(self, call: str, in_seconds: float) -> int:
        """Set the alarm to another time; what to do stays."""
        return self._arm(call, now() + timedelta(seconds=in_seconds), self.storage.get("plan", {}), call=call)

    @exclusive(combine=TOGETHER)
    def cancel(self, call: str) -> int:
        """Take the alarm away."""
        self.storage.delete_alarm()
        return self._log("cancel", call=call)

    @exclusive
    def hold(self, call: str, seconds: float) -> int:
        """Keep the object for so long."""
        time.sleep(seconds)
        return self._log("held", call=call)

    @exclusive
    def undo(self, call: str) -> int:
        """Set the alarm after a savepoint made by hand, and go back to it."""
        self._undone("set", token=call, at=now().isoformat(), fail=0)
        return self._log("undid", call=call)

    def alarm(self, info: AlarmInfo) -> None:
        token, plan = self.storage.get("token"), self.storage.get("plan", {})
        self._witnessed(info, lambda run: self._do(info, run, token, plan))

    def _witnessed(self, info: AlarmInfo, do: Callable[[str], None]) -> None:
        """Do it under a name of its own, and write down how it ends."""
        run = uuid.uuid4().hex[:12]
        try:
            do(run)
        except BaseException as error:
            what = "superseded" if isinstance(error, RunSuperseded) else "raise"
            turn = open_turns(clock.connection()).get(self.key)
            counts = isinstance(error, (Planned, *ENDINGS.values())) and not (
                turn and turn.is_shared
            )  # its group will run without it
            gave_up = isinstance(error, GiveUp)
            record.note(what, run=run, planned=counts, gave_up=gave_up, error=repr(error)[:200])
            raise
        record.note("end", run=run)

    def alarm_died(self, info: AlarmInfo, error: BaseException) -> None:
        self._log("died", token=self.storage.get("token"), retry=info.retry_count)

    def _do(self, info: AlarmInfo, run: str, token: str, plan: dict[str, Any], **of: Any) -> None:
        """``of``: which schedule calls, and its number; nothing for the alarm."""
        at = database_now()
        record.note(
            "start", run=run, object=self.name, kind=type(self).__name__, token=token, retry=info.retry_count,
            scheduled=info.scheduled_at.isoformat(), at=at.isoformat(), fail=plan.get("fail", 0), **of,
        )  # fmt: skip
        time.sleep(plan.get("hang", 0) if not info.is_retry else 0)
        if plan.get("poison") and _poisoned(token, plan["poison"]):
            record.note("killed", point="poison")
            os.kill(os.getpid(), signal.SIGKILL)
        if "pause" in plan:
            self._log("begin", token=token, run=run, **of)
            with self.unlocked():
                own = unlocked_on(clock.connection())[self.key].run
                record.note("out", run=run, object=self.name, id=self.pk, fence=own.fence if own else None)
                record.note("effect", key=token, content=repr(sorted(plan.items())))
                time.sleep(plan["pause"])
            record.note("in", run=run)
        ended = {"token": token, "run": run, "retry": info.retry_count, **of}
        self._log("done", at=info.scheduled_at.isoformat(), **ended)
        if plan.get("undo"):
            self._undone("done", **ended)
        if plan.get("leave") and connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(LEFT_BEHIND[plan["leave"]])
        if plan.get("again"):
            later = plan | {"again": plan["again"] - 1}
            self._arm(f"{token}+", now() + timedelta(seconds=plan.get("ahead", 0.5)), later, run=run)
        if plan.get("give up"):
            raise GiveUp("as planned")
        if info.retry_count < plan.get("fail", 0):
            raise ENDINGS.get(plan.get("by", ""), Planned)  # what was written and set above must be gone

    def _arm(self, token: str, at: datetime, plan: dict[str, Any], **by: str) -> int:
        self.storage.put_many({"token": token, "plan": plan})
        self.storage.set_alarm(at)
        stands = self.storage.get_alarm()  # a time that has passed means now
        return self._log("set", token=token, at=stands and stands.isoformat(), fail=plan.get("fail", 0), **by)

    def _undone(self, what: str, **fields: Any) -> None:
        before = transaction.savepoint()
        self._log(what, **fields)
        self.storage.set_alarm(timedelta(hours=1))
        transaction.savepoint_rollback(before)

    def _log(self, what: str, **fields: Any) -> int:
        if not (TOGETHER and "call" in fields):  # calls that share a turn write to their storage only
            fields["mark"] = uuid.uuid4().hex
            Mark.objects.create(name=self.name, mark=fields["mark"])
        number: int = self.storage.get("entries", 0) + 1
        self.storage.put_many({"entries": number, f"log:{number:06}": {"op": what, **fields}})
        return number


class ScheduledSubject(Subject):
    """Has schedules beside its alarm, each with a plan of its own, as that has one."""

    class Meta:
        proxy = True

    @exclusive(combine=TOGETHER)
    def schedule(self, call: str, name: str, when: dict[str, Any], plan: dict[str, Any]) -> int:
        """Set the schedule of this name. ``when``, in seconds: ``every``, until ``end`` (of the epoch), or ``after``,
        or ``at`` so many from now; ``misfire``, ``grace``. Of a ``cron``, ``every`` says how often it comes.
        """
        self.schedules.set(
            name,
            ScheduledSubject.tick,
            args=[plan],
            at=now() + timedelta(seconds=when["at"]) if "at" in when else None,
            after=_seconds(when.get("after")),
            every=None if "cron" in when else _seconds(when.get("every")),
            cron=when.get("cron"),
            end=datetime.fromtimestamp(when["end"], UTC) if "end" in when else None,
            misfire=when.get("misfire", "one"),
            grace=_seconds(when.get("grace")),
        )
        stands = self._turn().schedules()[name]
        first = stands.scheduled_at and stands.scheduled_at.isoformat()
        number, said = stands.set_number, {**when, "plan": plan}
        return self._log("schedule", call=call, schedule=name, set_number=number, first=first, rule=stands.rule, **said)

    @exclusive(combine=TOGETHER)
    def unschedule(self, call: str, name: str) -> int:
        """Cancel the schedule of this name."""
        self.schedules.cancel(name)
        return self._log("unschedule", call=call, schedule=name)

    def tick(self, plan: dict[str, Any]) -> None:
        """What each schedule calls."""
        info, run = self.schedules.info, self._turn().run
        assert info is not None
        assert run is not None
        of = {"schedule": info.schedule, "set_number": run.set_number}
        self._witnessed(info, lambda name: self._do(info, name, info.key, plan, **of))

    def _turn(self) -> Turn:
        return open_turns(clock.connection())[self.key]


class FewSubject(Subject):
    """A subject of which two run at a time."""

    class Meta:
        proxy = True

    alarm_groups = False
    alarm_concurrency = 2


class PacedSubject(Subject):
    """A subject of which two start in a second."""

    class Meta:
        proxy = True

    alarm_groups = False
    alarm_rate = 2


class BriefSubject(Subject):
    """A subject with two seconds for a run."""

    class Meta:
        proxy = True

    alarm_time_limit = timedelta(seconds=2)


def _seconds(number: float | None) -> timedelta | None:
    return None if number is None else timedelta(seconds=number)


def database_now() -> datetime:
    """The database's clock, past the engine. SQLite runs in this process."""
    if connection.vendor != "postgresql":
        return datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        at: datetime = cursor.fetchone()[0]
    return at


def _poisoned(token: str, times: int) -> bool:
    """Count the start in a file, since the process dies of it; whether it is one of the deadly ones."""
    path = Path(record.FOLDER) / f"poison-{token}"
    with path.open("a") as file:
        file.write("x")
    return path.stat().st_size <= times
