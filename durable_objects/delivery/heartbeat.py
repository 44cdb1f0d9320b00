"""Which processes live, of which code, and how busy their workers are: one row each, which a thread of theirs renews.

No promise rests on these rows: they are for those who look. What fails is tried again with the next beat.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Min, QuerySet

from durable_objects import process, signals
from durable_objects.conf import engine
from durable_objects.database import clock, supported
from durable_objects.delivery import workers
from durable_objects.delivery.code_version import code_version
from durable_objects.logs import get_logger
from durable_objects.tables import Process

logger = get_logger(__name__)

#: A row is renewed so often; one that was not for ``SILENT_AFTER`` is of a process that is gone, or hangs.
BEAT_EVERY = timedelta(seconds=5)
SILENT_AFTER = timedelta(seconds=30)
#: The row of a process that has ended or fallen silent is deleted after this time.
FORGOTTEN_AFTER = timedelta(days=1)
#: Wake-ups are counted over this time.
COUNTED_OVER = timedelta(minutes=1)

_thread: threading.Thread | None = None
_stop = threading.Event()


def begin() -> None:
    """Keep a row of this process from now on, in a thread of its own, until ``end``. Does nothing when it does."""
    global _thread
    if _thread is not None and _thread.is_alive():
        return
    _stop.clear()
    _thread = threading.Thread(target=_beat, name="durable-objects-presence", daemon=True)
    _thread.start()


def end(within: float = 1.0) -> None:
    """Note that this process ends in good order. Waits for it, but not for a database that does not answer."""
    global _thread
    thread, _thread = _thread, None
    _stop.set()
    if thread is not None:
        thread.join(within)


def alive(now: datetime) -> QuerySet[Process]:
    """Return the processes that have been seen lately."""
    return Process.objects.using(engine.DATABASE).filter(ended_at=None, last_seen_at__gt=now - SILENT_AFTER)


class Beat:
    """Writes the row of this process; knows what was taken in the last minute."""

    def __init__(self) -> None:
        self._taken: deque[tuple[float, int]] = deque()
        self._rows = Process.objects.using(engine.DATABASE).filter(process=process.name())

    def write(self) -> None:
        """Write how this process stands now; make its row with the first beat. Raises what the database raises."""
        before = datetime.now(UTC)
        now = clock.read()
        skew = before + (datetime.now(UTC) - before) / 2 - now
        columns = self._columns(now) | {"clock_skew": skew, "last_seen_at": now, "ended_at": None}
        if not self._rows.update(**columns):
            self._create(now, columns)

    def note_end(self) -> None:
        """Write that this process has ended. Raises what the database raises."""
        now = clock.read()
        self._rows.update(ended_at=now, last_seen_at=now, busy=0, busy_since=None, busy_with=None, taken_a_minute=0)

    def _columns(self, now: datetime) -> dict[str, Any]:
        work, moment = workers.work_in_hand(), clock.monotonic()
        while self._taken and self._taken[0][0] < moment - COUNTED_OVER.total_seconds():
            self._taken.popleft()
        self._taken.append((moment, work.taken))
        return {
            "threads": process.threads,
            "busy": work.busy,
            "busy_since": None if work.longest is None else now - work.longest,
            "busy_with": work.longest_object,
            "taken_a_minute": work.taken - self._taken[0][1],
        }

    def _create(self, now: datetime, columns: dict[str, Any]) -> None:
        """Make the row, and delete those that nobody needs any more: old ones, and of those that ended or were killed
        with the same code, which a process that starts again and again would leave without bound.
        """
        rows, version = Process.objects.using(engine.DATABASE), code_version()[:100]
        rows.filter(last_seen_at__lt=now - FORGOTTEN_AFTER).delete()
        same = rows.filter(code_version=version)
        since = same.aggregate(since=Min("code_since"))["since"] or now
        gone = [row.pk for row in same if row.ended_at is not None or process.is_gone(row.process)]
        rows.filter(pk__in=gone).delete()
        rows.update_or_create(
            process=process.name(),
            defaults={"started_at": now, "code_version": version, "code_since": since, **columns},
        )


def _beat() -> None:
    beat = Beat()
    while not _stop.is_set():
        _tried(beat.write)
        if clock.fake is None:
            signals.process_beat.send_robust(sender=None)
        _stop.wait(BEAT_EVERY.total_seconds())
    _tried(beat.note_end)


def _tried(write: Any) -> None:
    if clock.fake is not None:
        return
    try:
        supported.leave_pool(clock.connection())
        write()
    except Exception as error:  # noqa: BLE001  whatever it was, the next beat may work
        logger.debug("the row of this process could not be written (%r)", error)
    finally:
        with contextlib.suppress(Exception):
            clock.connection().close()  # it would be idle until the next beat
