"""Questions about what surrounds the alarms: the clock, the database, beat, the broker's settings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from durable_objects import tasks
from durable_objects.alarms import retry
from durable_objects.conf import engine
from durable_objects.database import clock, supported
from durable_objects.delivery import beat, brokers, processes
from durable_objects.doctor.finding import Finding, Question
from durable_objects.formatting import span

#: A wake-up that comes so early waits; one sent by a clock that is off by more comes early or late by that much.
SKEW_ALLOWED = timedelta(seconds=1)


def _clock_skew(now: datetime) -> Iterator[Finding]:
    before = datetime.now(UTC)
    said = clock.now()
    if clock.fake is not None:
        return
    after = datetime.now(UTC)
    ahead = before + (after - before) / 2 - said
    if abs(ahead) > SKEW_ALLOWED + (after - before) / 2:
        off = f"{span(ahead)} {'ahead of' if ahead > timedelta() else 'behind'}"
        text = f"This machine's clock is {off} the database's: what it rings for comes late by that, or twice."
        yield Finding("clock", text, "Let NTP set the clocks of all machines.")


def _sqlite(now: datetime) -> Iterator[Finding]:
    conn = clock.connection()
    if conn.vendor != "sqlite":
        return
    if mode := supported.late_mode(conn):
        text = (
            f"SQLite begins its transactions as {mode}: two calls on one object could both read before either writes."
        )
        yield Finding("sqlite_mode", text, 'Set OPTIONS = {"transaction_mode": "IMMEDIATE"}.')
    with conn.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        journal = str(cursor.fetchone()[0])
    if journal not in {"wal", "memory"}:
        text = f"SQLite's journal is {journal!r}: everyone who reads waits for everyone who writes."
        yield Finding("sqlite_journal", text, "--fix turns on WAL, for good.", fix=_turn_on_wal)


def _turn_on_wal() -> str:
    with clock.connection().cursor() as cursor:
        cursor.execute("PRAGMA journal_mode = WAL")
        return f"SQLite's journal is now {cursor.fetchone()[0]!r}"


def _beat_entry(now: datetime) -> Iterator[Finding]:
    scheduled = beat.TASK in brokers.scheduled_tasks()
    if engine.DISPATCHED_BY != "beat" or scheduled or not beat.is_installed():
        return
    awake = processes.trouble(now) is None
    if not beat.has_tables():
        text = "django-celery-beat is installed, and its tables are missing: beat cannot run."
        yield Finding("beat_entry", text, "Run `manage.py migrate`.", is_trouble=not awake)
        return
    entries = beat.entries()
    if any(entry.enabled for entry in entries):
        yield from _short_lived(entries, awake)
        return
    what = "is disabled" if entries else "is missing"
    text = f"Beat's entry {beat.NAME!r} {what}" + (", while others dispatch." if awake else ", and nobody dispatches.")
    advice = f"--fix {'enables' if entries else 'makes'} it; or say DISPATCHED_BY = 'command'."
    yield Finding("beat_entry", text, advice, is_trouble=not awake, fix=_mend_entry)


def _short_lived(entries: list[Any], awake: bool) -> Iterator[Finding]:
    short = [entry for entry in entries if entry.enabled and beat.expires_soon(entry)]
    for entry in short:
        text = f"Beat's passes expire after {entry.expire_seconds} s: a worker whose clock is ahead by that makes none."
        advice = f"--fix lets {entry.name!r} live for {span(beat.EXPIRES_AFTER)}."
        yield Finding("beat_expires", text, advice, is_trouble=not awake, fix=partial(_let_live, entry))


def _let_live(entry: Any) -> str:
    entry.expire_seconds = round(beat.EXPIRES_AFTER.total_seconds())
    entry.save()  # tells beat
    return f"beat's entry {entry.name!r} now lives for {span(beat.EXPIRES_AFTER)}"


def _mend_entry() -> str:
    beat.mend_entry()
    return f"beat's entry {beat.NAME!r} is there and enabled"


def _broker(now: datetime) -> Iterator[Finding]:
    yield from judge_broker(tasks.settings_in_force())


def judge_broker(said: dict[str, Any]) -> Iterator[Finding]:
    """What in these settings of Celery (``tasks.settings_in_force``) loses wake-ups or holds callers up."""
    options, kinds = said["broker_transport_options"], {*said.get("brokers", [said["broker"]])}
    if said["task_always_eager"]:
        text = "task_always_eager is on: this process sends no alarm, and its dispatcher none either."
        yield Finding("broker_eager", text, "Turn it off; in tests use durable_objects.testing.")
    if "redis" in kinds:
        needed = (engine.HORIZON + retry.LOST_AFTER).total_seconds()
        visible = float(options.get("visibility_timeout", 3600))
        if visible < needed:
            text = f"Redis: visibility_timeout is {visible:g} s, less than HORIZON and the wait for lost ones: doubles."
            yield Finding("broker_visibility", text, f"Set it to more than {needed:g} s, ten times HORIZON say.")
        if not (options.get("socket_timeout") and options.get("socket_connect_timeout")):
            text = "Redis: no socket_timeout or socket_connect_timeout: a frozen Redis holds whoever sets an alarm."
            yield Finding("broker_hangs", text, "Set both in broker_transport_options, to 0.4 s say.")
    if "amqp" in kinds and not options.get("confirm_publish"):
        text = "RabbitMQ: confirm_publish is off: a message that the broker did not take is lost without a word."
        yield Finding("broker_confirms", text, 'Set broker_transport_options["confirm_publish"] = True.')
    if "amqp" in kinds and not (options.get("read_timeout") and options.get("write_timeout")):
        text = "RabbitMQ: no read_timeout or write_timeout: a broker out of memory holds whoever sets an alarm."
        yield Finding("broker_hangs", text, "Set both in broker_transport_options, to 0.4 s say.")
    tries = (said["task_publish_retry_policy"] or {}).get("max_retries", 3)
    if tries is None or tries > 3:
        text = f"task_publish_retry_policy has max_retries {tries}: a broker that is away holds whoever sets an alarm."
        yield Finding("broker_retries", text, "Set max_retries to 1: the dispatcher does the rest.")
    yield from _judge_workers(said)


def _judge_workers(said: dict[str, Any]) -> Iterator[Finding]:
    scheme = said["broker"]
    if scheme != "memory" and str(said["worker_consumer"]).startswith("celery."):
        text = f"worker_consumer is Celery's own: a worker ends by itself when {scheme} refuses, or restarts under it."
        yield Finding("broker_worker", text, 'Set CELERY_WORKER_CONSUMER = "durable_objects.worker:Consumer".')
    if said["task_acks_late"]:
        text = "task_acks_late is on: messages come back as doubles; the dispatcher rings again anyway."
        yield Finding("broker_acks", text, "Turn it off for alarms.", is_trouble=False)
    if said["result_backend"] and not str(said["result_backend"]).startswith("disabled"):
        text = "A result backend is set: alarms keep no results; it is one more thing that can be away."
        yield Finding("broker_results", text, "Remove it unless your own tasks need it.", is_trouble=False)


QUESTIONS: list[Question] = [_clock_skew, _sqlite, _beat_entry, _broker]
