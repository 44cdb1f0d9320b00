"""What happened to objects and alarms, reported by signals after the commit, and by the log.

Nothing is computed where nobody wants to know. A failure is logged as it is settled, since that must not be missed; all
else after the commit, too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.db.backends.base.base import BaseDatabaseWrapper
from django.dispatch import Signal

from durable_objects import signals
from durable_objects.alarms.backoff import AlarmInfo
from durable_objects.alarms.run import Run
from durable_objects.handler_errors import formattable, is_failure
from durable_objects.logs import about, get_logger

logger = get_logger(__name__)


class Named(Protocol):
    """An object, for what is reported of it."""

    name: str

    @property
    def key(self) -> tuple[str, str]:
        """Class label and name."""


@dataclass(frozen=True, slots=True)
class _Event:
    """A signal, and the line of the log that comes with it."""

    signal: Signal
    level: int = logging.NOTSET
    message: str = ""

    def is_wanted(self, sender: type[Any] | None) -> bool:
        """Return whether anybody receives the signal of this sender, or reads the line."""
        is_received = bool(self.signal.receivers) and self.signal.has_listeners(sender)
        return is_received or (bool(self.level) and logger.isEnabledFor(self.level))

    def after_commit(
        self,
        conn: BaseDatabaseWrapper,
        handle: Named,
        sender: type[Any] | None,
        extra: dict[str, Any] | None = None,
        **facts: Any,
    ) -> None:
        """Send the signal, and log with this ``extra``, once what the open transaction has done so far is committed."""
        key, name = handle.key, handle.name

        def report() -> None:
            if extra is not None:
                logger.log(self.level, self.message, *key, extra=extra)
            try:
                answers = self.signal.send_robust(sender, key=key, name=name, **facts)
            except BaseException as error:  # a receiver's SystemExit, which send_robust() lets pass
                if not is_failure(error):
                    raise
                _receiver_raised(key, error)
            else:
                for _, answer in answers:
                    if isinstance(answer, Exception):
                        _receiver_raised(key, answer)

        conn.on_commit(report, robust=True)


def _receiver_raised(key: tuple[str, str], error: BaseException) -> None:
    message, extra = "a receiver of a signal on %s %r raised", about("receiver_raised", key)
    logger.error(message, *key, exc_info=formattable(error), extra=extra)


_SUCCEEDED = _Event(signals.alarm_succeeded, logging.DEBUG, "alarm of %s %r succeeded")
_FAILED = _Event(signals.alarm_failed)
_DIED = _Event(signals.alarm_died)
_REVIVED = _Event(signals.alarm_revived, logging.INFO, "alarm of %s %r was revived")
_CREATED = _Event(signals.object_created, logging.DEBUG, "%s %r was created")
_DELETED = _Event(signals.object_deleted, logging.DEBUG, "%s %r was deleted")


def alarm_succeeded(conn: BaseDatabaseWrapper, handle: Named, run: Run) -> None:
    """Report a run that ended well."""
    if _SUCCEEDED.is_wanted(type(handle)):
        info = run.info
        extra = about(
            "alarm_succeeded",
            handle.key,
            schedule=info.schedule,
            retry_count=info.retry_count,
            scheduled_at=info.scheduled_at.isoformat(),
            lateness=info.lateness.total_seconds(),
        )
        _SUCCEEDED.after_commit(conn, handle, type(handle), extra, info=info)


def alarm_failed(conn: BaseDatabaseWrapper, handle: Named, run: Run, error: str, retry_at: datetime | None) -> None:
    """Log a run that failed, and report it. ``retry_at`` None: another call has set or deleted the alarm meanwhile."""
    info = run.info
    asked_for = info.scheduled_at.isoformat()
    extra = about(
        "alarm_failed", handle.key, schedule=info.schedule, retry_count=info.retry_count, scheduled_at=asked_for
    )
    if retry_at is None:
        message, names = _sentence(info, handle, "failed; what another call has asked of it meanwhile stands")
        logger.info(message, *names, extra=extra)
    else:
        message, names = _sentence(info, handle, "failed and is retried at %s")
        logger.info(message, *names, retry_at, extra=extra)
    if _FAILED.is_wanted(type(handle)):
        _FAILED.after_commit(conn, handle, type(handle), info=info, error=error, retry_at=retry_at)


def alarm_died(conn: BaseDatabaseWrapper, handle: Named, run: Run, raised: BaseException, error: str) -> None:
    """Log an alarm of which no run is left, with the traceback, and report it."""
    info = run.info
    asked_for = info.scheduled_at.isoformat()
    extra = about(
        "alarm_died", handle.key, schedule=info.schedule, retry_count=info.retry_count, scheduled_at=asked_for
    )
    runs, raised_by = info.retry_count + 1, formattable(raised)
    if info.schedule:
        message, names = _sentence(info, handle, "has an occurrence that is dead after %s runs")
        logger.error(message, *names, runs, exc_info=raised_by, extra=extra)
    else:  # docs/guides/deploy.md promises this text
        logger.error("alarm of %s %r is dead after %s runs", *handle.key, runs, exc_info=raised_by, extra=extra)
    if _DIED.is_wanted(type(handle)):
        _DIED.after_commit(conn, handle, type(handle), info=info, error=error)


def _sentence(info: AlarmInfo, handle: Named, what: str) -> tuple[str, tuple[str, ...]]:
    """Return the message on what ran, and the names to put in first."""
    if info.schedule:
        return f"schedule %r of %s %r {what}", (info.schedule, *handle.key)
    return f"alarm of %s %r {what}", handle.key


def alarm_revived(conn: BaseDatabaseWrapper, handle: Named, scheduled_at: datetime | None, schedule: str = "") -> None:
    """Report a dead alarm that is armed again, or the dead occurrence of a schedule."""
    if _REVIVED.is_wanted(type(handle)):
        extra = about("alarm_revived", handle.key, schedule=schedule)
        _REVIVED.after_commit(conn, handle, type(handle), extra, scheduled_at=scheduled_at, schedule=schedule)


def alarm_marked_late(conn: BaseDatabaseWrapper, handle: Named, due_at: datetime, late: timedelta) -> None:
    """Log, after the commit, an alarm that an operator has marked as late."""
    extra = about("alarm_marked_late", handle.key, due_at=due_at.isoformat(), lateness=late.total_seconds())
    conn.on_commit(lambda: logger.warning("alarm of %s %r is late by %s", *handle.key, late, extra=extra), robust=True)


def object_created(conn: BaseDatabaseWrapper, handle: Named) -> None:
    """Report an object whose row was made."""
    objects_created(conn, type(handle), [handle])


def objects_created(conn: BaseDatabaseWrapper, sender: type[Any], handles: Iterable[Named]) -> None:
    """Report objects of one class whose rows were made. The handles are not asked for where nobody wants to know."""
    if _CREATED.is_wanted(sender):
        for handle in handles:
            _CREATED.after_commit(conn, handle, sender, about("object_created", handle.key))


def object_deleted(conn: BaseDatabaseWrapper, handle: Named, sender: type[Any] | None) -> None:
    """Report an object that is gone. ``sender`` None: this code does not have its class."""
    if _DELETED.is_wanted(sender):
        _DELETED.after_commit(conn, handle, sender, about("object_deleted", handle.key))
