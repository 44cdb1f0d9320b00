"""Who dispatches: one row per process that makes passes, and what is reported when none does. Writes those rows."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import IntegrityError, transaction

from durable_objects import process
from durable_objects.conf import engine
from durable_objects.delivery import beat
from durable_objects.formatting import span
from durable_objects.tables import Dispatcher

#: A process writes its row at most this often, however often it passes.
SIGN_EVERY = 1.0
#: The row of a process that has not passed for this long is deleted.
FORGOTTEN_AFTER = timedelta(days=1)
#: Processes that are read at most, those that passed last first.
AT_MOST = 200
#: Beat stores every three minutes what it has sent.
BEAT_WRITES_WITHIN = timedelta(minutes=4)

NEVER_SIGNED: tuple[float, str, bool] = (float("-inf"), "", False)
_signed = NEVER_SIGNED


def sign(now: datetime, *, refused: bool) -> None:
    """Record that this process has just made a pass. ``refused``: the broker did not take its wake-ups."""
    global _signed
    me, moment = process.name(), time.monotonic()
    if _signed[1:] == (me, refused) and moment - _signed[0] < SIGN_EVERY:
        return
    rows = Dispatcher.objects.using(engine.DATABASE)
    mine = rows.filter(process=me)
    if refused:
        mine.filter(refused_since=None).update(refused_since=now)
        changed = mine.update(last_pass_at=now)
    else:
        changed = mine.update(last_pass_at=now, refused_since=None)
    if not changed:
        rows.filter(last_pass_at__lt=now - FORGOTTEN_AFTER).delete()
        try:
            with transaction.atomic(using=engine.DATABASE):
                rows.create(process=me, started_at=now, last_pass_at=now, refused_since=now if refused else None)
        except IntegrityError:
            pass  # another thread of this process was quicker
    _signed = (moment, me, refused)


def others(now: datetime) -> list[str]:
    """Return the names of other processes that have passed lately and may be alive."""
    rows = Dispatcher.objects.using(engine.DATABASE).filter(last_pass_at__gte=now - stopped_after())
    names = rows.order_by("process").values_list("process", flat=True)
    return [name for name in names if not process.is_gone(name)]


def stopped_after() -> timedelta:
    """Return after how long without a pass no dispatcher seems to run: half of ``HORIZON``, or three passes."""
    half, three = engine.HORIZON / 2, 3 * engine.DISPATCH_EVERY
    longest: timedelta = max(half, three)
    return longest


class Failing(NamedTuple):
    """What keeps wake-ups from being dispatched: ``dispatcher`` (none passes) or ``broker``, and a sentence."""

    code: str
    text: str


def passing() -> list[Dispatcher]:
    """Return the processes that have made passes, as far as they are not forgotten, the last first. One query."""
    return list(Dispatcher.objects.using(engine.DATABASE).order_by("-last_pass_at", "pk")[:AT_MOST])


def failing(now: datetime, rows: list[Dispatcher] | None = None) -> Failing | None:
    """Return what keeps wake-ups from being dispatched, without a host's name; None if nothing does. ``rows``: what
    ``passing`` returned, where it was asked before.
    """
    rows = passing() if rows is None else rows
    if not rows:
        return Failing("dispatcher", "No dispatcher has made a pass for a day or more, if ever")
    last = rows[0]
    if last.last_pass_at < now - stopped_after():
        return Failing("dispatcher", f"No dispatcher has made a pass for {span(now - last.last_pass_at)}")
    awake = [row for row in rows if row.last_pass_at >= now - stopped_after()]
    if last.refused_since is not None and all(row.refused_since for row in awake):
        return Failing("broker", f"The broker has taken no wake-ups for {span(now - last.refused_since)}")
    return None


def advice(code: str, now: datetime) -> str:
    """Return what to do about what ``failing`` found: who should have passed, and how one is started."""
    return "look after the broker" if code == "broker" else _whose_turn(now)


def trouble(now: datetime) -> str | None:
    """Return why no wake-ups are dispatched and what to do, in a sentence without a host's name; None if they are."""
    found = failing(now)
    return None if found is None else f"{found.text}: {advice(found.code, now)}."


def _whose_turn(now: datetime) -> str:
    """Return who should have passed, and so what to look at."""
    by_command = "start `manage.py alarms dispatch --loop`"
    if engine.DISPATCHED_BY == "command" or not beat.is_installed():
        return by_command
    entries = beat.entries()
    if entries is None:
        return f"beat's tables are missing; `manage.py migrate` makes them, or {by_command}"
    if not entries:
        return f"beat has no entry for it; `manage.py alarms doctor --fix` makes one, or {by_command}"
    if not any(entry.enabled for entry in entries):
        return f"beat's entry {entries[0].name!r} is disabled; enable it, or {by_command}"
    sent = [entry.last_run_at for entry in entries if entry.last_run_at]
    if sent and max(sent) > now - BEAT_WRITES_WITHIN:
        return f"beat sent passes lately, so look for the worker that takes {beat.TASK} from its queue"
    return f"is beat running? Start it with `celery -A PROJECT beat`, or {by_command}"
