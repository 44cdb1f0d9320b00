"""Looks at the rules, one process at a time, and has the messages sent.

A dead dispatcher or worker cannot tell of itself. So each process that runs or dispatches alarms looks, whichever comes
first, and ``manage.py alerts check`` does from outside of them. When all of them are gone, only a monitor elsewhere
notices, which misses the heartbeat (``HEARTBEAT_URL``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import Error, connections, router, transaction
from django.db.models import F, Q

from durable_objects import DurableObjectError, now, outgoing, process
from durable_objects.handler_errors import is_failure, named
from durable_objects.logs import get_logger
from reminders.alerts import judging, messages
from reminders.alerts.tables import Alert, AlertRule, AlertWatch
from reminders.alerts.validation import asked
from reminders.conf import defaults
from reminders.delivery import plain

logger = get_logger("reminders")

#: A process that has its turn for longer has lost it.
LONGEST_TURN = timedelta(minutes=2)
#: One look sends for so long; what is left waits for the next.
SENDS_FOR = timedelta(minutes=1)
PINGED_EVERY = timedelta(minutes=1)


class TurnLost(DurableObjectError):
    """Another process looks at the rules by now: this one was stopped for too long."""


def check(*, at_once: bool = False) -> list[Alert] | None:
    """Look at every rule, if it is time for that (or ``at_once``) and no other process does now. Return the alerts that
    are firing; None: it was not this process's turn. Sends nothing.
    """
    with _turn(at_once) as number:
        if number is not None:
            alerts = [_look(rule, number) for rule in AlertRule.objects.order_by("pk")]
            return [alert for alert in alerts if alert is not None and alert.state == Alert.State.FIRING]
    return None


def firing() -> list[Alert]:
    """Return the alerts that are firing, those of silenced rules too."""
    return list(Alert.objects.filter(state=Alert.State.FIRING).select_related("rule").order_by("since"))


def _look(rule: AlertRule, number: int) -> Alert | None:
    """Judge one rule. Whatever its condition raises is kept with it, and changes neither its alert nor other rules."""
    moment, flaw, found = now(), "", None
    try:
        found = asked(rule, moment) if rule.is_enabled else None
    except Error:
        raise
    except Exception as error:  # noqa: BLE001  a condition of somebody else's
        flaw = plain(named(error))
        logger.warning("the alert rule %s could not be judged: %s", rule.pk, flaw)
    with transaction.atomic(using=router.db_for_write(AlertRule)):
        _keep_turn(number)
        if rule.flaw != flaw:
            AlertRule.objects.filter(pk=rule.pk).update(flaw=flaw)
        if flaw:
            return Alert.objects.filter(rule=rule, state=Alert.State.FIRING).first()
        if not rule.is_enabled:
            judging.end(rule, moment)
            return None
        fresh = AlertRule.objects.filter(pk=rule.pk).first()  # it may have been silenced, or deleted, meanwhile
        return judging.judge(fresh, found, moment) if fresh is not None else None


@contextmanager
def _turn(at_once: bool) -> Iterator[int | None]:
    """Take the turn for this block; yield its number, None where another process has it or had it a moment ago."""
    moment, me = now(), process.name()
    row = AlertWatch.row()
    # What is far ahead was written by a clock that was put back since.
    free = Q(held_until=None) | Q(held_until__lte=moment) | Q(held_until__gt=moment + 2 * LONGEST_TURN)
    every = defaults.ALERTS_EVERY
    due = Q(looked_at=None) | Q(looked_at__lte=moment - every) | Q(looked_at__gt=moment + LONGEST_TURN)
    mine = AlertWatch.objects.filter(free if at_once else free & due, pk=row.pk, number=row.number)
    if not mine.update(number=F("number") + 1, held_by=me, held_until=moment + LONGEST_TURN):
        yield None
        return
    held = AlertWatch.objects.filter(pk=row.pk, number=row.number + 1)
    try:
        yield row.number + 1
        held.update(looked_at=now())
    except TurnLost as lost:
        logger.warning("%s", lost)
    finally:
        held.update(held_until=None)


def _keep_turn(number: int) -> None:
    """Lock the turn until the commit. Raises ``TurnLost`` where it is another process's by now."""
    row = AlertWatch.objects.select_for_update().get(pk=1)
    if row.number != number:
        raise TurnLost(f"turn {number} at the alert rules was lost: {row.held_by} has turn {row.number}")


def look_and_send() -> list[Alert] | None:
    """Look at the rules if it is time, send what is due, and the heartbeat while nothing fires that is not silenced."""
    found = check()
    messages.send_due(SENDS_FOR)
    if found is not None:
        beat(found)
    return found


def beat(alerts: list[Alert]) -> bool:
    """POST to ``HEARTBEAT_URL``, at most once a minute, unless one of these alerts is not silenced or a rule could not
    be judged. Return whether it was answered by 2xx. Never raises for what the other side does.
    """
    moment = now()
    if not defaults.HEARTBEAT_URL or any(not alert.rule.is_silenced(moment) for alert in alerts):
        return False
    if AlertRule.objects.filter(is_enabled=True).exclude(flaw="").exists():
        return False
    last = AlertWatch.row().pinged_at
    if last is not None and timedelta(0) <= moment - last < PINGED_EVERY:
        return False
    AlertWatch.objects.filter(pk=1).update(pinged_at=moment)
    try:
        reply = outgoing.post(
            defaults.HEARTBEAT_URL,
            b"",
            headers={},
            timeout=defaults.TIMEOUT,
            deadline=defaults.DEADLINE,
            read_bytes=1_000,
        )
    except BaseException as error:  # the monitor raises its alarm if this goes on
        if not is_failure(error):
            raise
        logger.warning("the heartbeat was not delivered: %s", type(error).__name__)  # its text may have the address
        return False
    return 200 <= reply.status < 300


class Watcher:
    """Looks in a thread of its own, so that neither heartbeats nor passes wait for a mail server."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._next = float("-inf")

    def wake(self, **kwargs: Any) -> None:
        """Let it look, unless it does, or did so within ``ALERTS_EVERY``: a receiver of ``process_beat``."""
        with self._lock:
            if time.monotonic() < self._next or (self._thread is not None and self._thread.is_alive()):
                return
            self._next = time.monotonic() + min(defaults.ALERTS_EVERY.total_seconds(), 5.0)
            self._thread = threading.Thread(target=self._look, name="reminders-alerts", daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait for the look that is under way, if one is."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _look(self) -> None:
        try:
            if defaults.HEARTBEAT_URL or AlertRule.objects.exists():
                look_and_send()
        except Error as error:  # alarms say so themselves, and louder
            logger.debug("the alert rules could not be looked at: %s", named(error))
        except Exception as error:  # noqa: BLE001  whatever it was, the next look may work
            logger.warning("the alert rules could not be looked at: %s", named(error))
        finally:
            connections.close_all()


watcher = Watcher()
