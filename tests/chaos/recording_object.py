"""An object whose runs write down when they had it, by the database's clock (PostgreSQL only)."""

from __future__ import annotations

import os
import signal
import time
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, models

from durable_objects import AlarmInfo, exclusive
from durable_objects.models import DurableObject


class Moment(models.Model):
    """One moment of a run of a ``Witness``.

    ``locked`` and ``done`` are written in the turn's transaction, so they are there only if it was committed;
    ``unlocked`` and ``ready`` are written at once, inside ``unlocked()``; ``again`` after it, under the lock.
    """

    witness = models.BigIntegerField(db_index=True)
    run = models.CharField(max_length=32, db_index=True)
    fence = models.BigIntegerField()
    what = models.CharField(max_length=10)
    scheduled_at = models.DateTimeField()
    at = models.DateTimeField()
    pid = models.IntegerField()


class Witness(DurableObject):
    """Does at its alarm what its plan says, and writes a ``Moment`` at each step.

    The plan, all of it optional: ``hang`` so many seconds with the lock; let the server work for a ``query`` so long;
    ``pause`` so many without the lock; ``kill`` its own process, in the pause if there is one; ``fail`` so many times;
    set the alarm ``again``, so many seconds after the planned time.
    """

    class Meta:
        proxy = True

    @exclusive
    def wake_at(self, at: datetime | timedelta, **plan: Any) -> None:
        """Set the alarm and the plan for it."""
        self.storage.put("plan", plan)
        self.storage.set_alarm(at)

    def alarm(self, info: AlarmInfo) -> None:
        plan, run = self.storage.get("plan"), uuid.uuid4().hex
        fence = self._note(run, "locked", info)
        time.sleep(plan.get("hang", 0))
        if "query" in plan:
            _ask("SELECT pg_sleep(%s), clock_timestamp()", plan["query"])
        if plan.get("kill") and "pause" not in plan:
            os.kill(os.getpid(), signal.SIGKILL)
        if "pause" in plan:
            with self.unlocked():
                fence = self._note(run, "unlocked", info)
                if plan.get("kill"):
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(plan["pause"])
                self._note(run, "ready", info, fence)
            self._note(run, "again", info, fence)
        self.storage.put("runs", self.storage.get("runs", 0) + 1)
        if "again" in plan:
            self.storage.set_alarm(
                max(info.scheduled_at + timedelta(seconds=plan["again"]), _ask("SELECT 0, clock_timestamp()"))
            )
        if info.retry_count < plan.get("fail", 0):
            raise ValueError("as planned")
        self._note(run, "done", info, fence)

    def _note(self, run: str, what: str, info: AlarmInfo, fence: int | None = None) -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO tests_moment (witness, run, fence, what, scheduled_at, at, pid) "
                "SELECT object_id, %s, coalesce(%s, fence), %s, %s, clock_timestamp(), %s "
                "FROM durable_objects_alarm WHERE object_id = %s RETURNING fence",
                [run, fence, what, info.scheduled_at, os.getpid(), self.pk],
            )
            row = cursor.fetchone()
        return int(row[0]) if row else -1


class Hasty(Witness):
    """A witness with two seconds for a run."""

    class Meta:
        proxy = True

    alarm_time_limit = timedelta(seconds=2)


class Few(Witness):
    """A witness of which three run at a time."""

    class Meta:
        proxy = True

    alarm_concurrency = 3


class Paced(Witness):
    """A witness of which eight start in a second."""

    class Meta:
        proxy = True

    alarm_rate = 8


def _ask(query: str, *params: Any) -> datetime:
    """The second column of the answer, past the engine."""
    with connection.cursor() as cursor:
        cursor.execute(query, params)
        at: datetime = cursor.fetchone()[1]
    return at
