"""Who dispatches: one row per process that makes passes, and what is reported when none does. Writes those rows."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

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


def trouble(now: datetime) -> str | None:
    """Return why no wake-ups are dispatched, in a sentence without a host's name; None while they are."""
    rows = Dispatcher.objects.using(engine.DATABASE).order_by("-last_pass_at")
    last = rows.first()
    if last is None:
        return f"No dispatcher has made a pass for a day or more, if ever: {_whose_turn(now)}."
    if last.last_pass_at < now - stopped_after():
        return f"No dispatcher has made a pass for {span(now - last.last_pass_at)}: {_whose_turn(now)}."
    awake = rows.filter(last_pass_at__gte=now - stopped_after())
    if last.refused_since is not None and not awake.filter(refused_since=None).exists():
        return f"The broker has taken no wake-ups for {span(now - last.refused_since)}: look after the broker."
    return None


def _whose_turn(now: datetime) -> str:
    """Return who should have passed, and so what to look at."""
    by_command = "start `manage.py alarms dispatch --loop`"
    if engine.DISPATCHED_BY == "command" or not beat.is_installed():
        return by_command
    if not beat.has_tables():
        return f"beat's tables are missing; `manage.py migrate` makes them, or {by_command}"
    entries = beat.entries()
    if not entries:
        return f"beat has no entry for it; `manage.py alarms doctor --fix` makes one, or {by_command}"
    if not any(entry.enabled for entry in entries):
        return f"beat's entry {entries[0].name!r} is disabled; enable it, or {by_command}"
    sent = [entry.last_run_at for entry in entries if entry.last_run_at]
    if sent and max(sent) > now - BEAT_WRITES_WITHIN:
        return f"beat sent passes lately, so look for the worker that takes {beat.TASK} from its queue"
    return f"is beat running? Start it with `celery -A PROJECT beat`, or {by_command}"
