"""Questions about what surrounds the alarms: the clock, the database, beat, the broker's settings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.core.checks import ERROR, Tags
from django.core.checks.registry import registry

from durable_objects import kinds, tasks
from durable_objects.alarms import backoff
from durable_objects.conf import engine
from durable_objects.database import clock, supported
from durable_objects.database.backends import backend_of
from durable_objects.delivery import beat, brokers, celery_config, processes
from durable_objects.doctor.finding import Finding, Question
from durable_objects.formatting import span

#: A wake-up that is early by this much waits; one sent by a clock that is off by more comes early or late.
SKEW_ALLOWED = timedelta(seconds=1)
#: Checks that have a question of the doctor's own, which knows more: of SQLite, dispatching, eager tasks, transport,
#: the Celery app and the kind of broker.
ASKED = {"E004", "W006", "W016", "E017", "W018", "W023"}


def _clock_skew(now: datetime) -> Iterator[Finding]:
    before = datetime.now(UTC)
    theirs = clock.now()
    if clock.fake is not None:
        return
    after = datetime.now(UTC)
    ahead = before + (after - before) / 2 - theirs
    if abs(ahead) > SKEW_ALLOWED + (after - before) / 2:
        off = f"{span(ahead)} {'ahead of' if ahead > timedelta() else 'behind'}"
        text = f"This machine's clock is {off} the database's: its wake-ups come late by that, or twice."
        yield Finding("clock", text, "Let NTP set the clocks of all machines.")


def _not_migrated(now: datetime) -> Iterator[Finding]:
    if missing := kinds.not_migrated():
        names = ", ".join(model._meta.label for model in missing)
        text = f"Not known to the database {engine.DATABASE!r} yet: {names}. Calls of their objects fail."
        yield Finding(
            "not_migrated", text, "Run `manage.py makemigrations` (a proxy needs a migration, too) and `migrate`."
        )


def _read_only(now: datetime) -> Iterator[Finding]:
    if backend_of(clock.connection()).is_read_only():
        text = "The database takes no writes: no call that changes anything and no alarm runs."
        advice = "Let DATABASES name the primary: this is a standby, or a role that only reads."
        yield Finding("read_only", text, advice)


def _endless_wait(now: datetime) -> Iterator[Finding]:
    if why := supported.endless_wait(engine.DATABASE):
        yield Finding("database_waits", why, supported.LIMIT_OF_WAIT, is_trouble=False)


def _sqlite(now: datetime) -> Iterator[Finding]:
    backend = backend_of(clock.connection())
    if mode := backend.late_mode():
        text = (
            f"SQLite begins its transactions as {mode}: two calls on one object could both read before either writes."
        )
        yield Finding("sqlite_mode", text, 'Set DATABASES[…]["OPTIONS"] = {"transaction_mode": "IMMEDIATE"}.')
    if journal := backend.blocking_journal():
        text = f"SQLite's journal mode is {journal!r}: readers wait for writers, and writers for readers."
        yield Finding("sqlite_journal", text, "--fix turns on WAL, permanently.", fix=_turn_on_wal)


def _turn_on_wal() -> str:
    return f"SQLite's journal mode is now {backend_of(clock.connection()).set_journal()!r}"


def _beat_entry(now: datetime) -> Iterator[Finding]:
    scheduled = beat.TASK in brokers.scheduled_tasks()
    if engine.DISPATCHED_BY != "beat" or scheduled or not beat.is_installed():
        return
    awake = processes.trouble(now) is None
    entries = beat.entries()
    if entries is None:
        text = "The tables of django-celery-beat are missing: beat cannot run."
        yield Finding("beat_entry", text, "Run `manage.py migrate`.", is_trouble=not awake)
        return
    if any(entry.enabled for entry in entries):
        yield from _short_lived(entries, awake)
        return
    what = "is disabled" if entries else "is missing"
    text = f"Beat's entry {beat.NAME!r} {what}, {'while another' if awake else 'and no'} process dispatches."
    advice = f"--fix {'enables' if entries else 'creates'} it; or set DISPATCHED_BY = 'command'."
    yield Finding("beat_entry", text, advice, is_trouble=not awake, fix=_mend_entry)


def _short_lived(entries: list[Any], awake: bool) -> Iterator[Finding]:
    short = [entry for entry in entries if entry.enabled and beat.expires_soon(entry)]
    for entry in short:
        text = f"Beat's passes expire after {entry.expire_seconds} s: a worker whose clock is ahead by that runs none."
        advice = f"--fix lets those of {entry.name!r} expire after {span(beat.EXPIRES_AFTER)}."
        yield Finding("beat_expires", text, advice, is_trouble=not awake, fix=partial(_let_live, entry))


def _let_live(entry: Any) -> str:
    entry.expire_seconds = round(beat.EXPIRES_AFTER.total_seconds())
    entry.save()  # signals beat
    return f"passes of beat's entry {entry.name!r} now expire after {span(beat.EXPIRES_AFTER)}"


def _mend_entry() -> str:
    beat.mend_entry()
    return f"beat's entry {beat.NAME!r} exists and is enabled"


def _broker(now: datetime) -> Iterator[Finding]:
    if brokers.app_flaw() is None:  # else these are not the project's settings
        yield from judge_broker(tasks.settings_in_force())


def judge_broker(settings: dict[str, Any]) -> Iterator[Finding]:
    """Find what in these settings of Celery (``tasks.settings_in_force``) loses wake-ups or blocks callers."""
    options, kinds = settings["broker_transport_options"], {*settings.get("brokers", [settings["broker"]])}
    if settings["task_always_eager"]:
        text = "CELERY_TASK_ALWAYS_EAGER is on: this process sends no wake-ups, and neither does a dispatcher in it."
        yield Finding("broker_eager", text, "Turn it off; in tests use durable_objects.testing.")
    if "redis" in kinds:
        needed = (engine.HORIZON + backoff.LOST_AFTER).total_seconds()
        visible = options.get("visibility_timeout", 3600)
        is_number = isinstance(visible, int | float)
        if not is_number or visible < needed:
            text = "shorter than wake-ups wait: they are delivered twice"
            what = f"{visible:g} s, {text}" if is_number else f"{visible!r}, which is no number of seconds"
            text = f"Redis: visibility_timeout is {what}."
            yield Finding(
                "broker_visibility",
                text,
                f"Set it in CELERY_BROKER_TRANSPORT_OPTIONS to more than {needed:g} (HORIZON and 10 s), or remove it: "
                "Celery's own is 3600.",
            )
        if not (options.get("socket_timeout") and options.get("socket_connect_timeout")):
            text = (
                "Redis: no socket_timeout or socket_connect_timeout: a Redis that hangs blocks whoever sets an alarm."
            )
            yield Finding("broker_hangs", text, _set("socket_timeout", "socket_connect_timeout"))
    if "amqp" in kinds and not options.get("confirm_publish"):
        text = "RabbitMQ: confirm_publish is off: a message that the broker did not take is lost silently."
        yield Finding("broker_confirms", text, _set("confirm_publish"))
    if "amqp" in kinds and not (options.get("read_timeout") and options.get("write_timeout")):
        text = (
            "RabbitMQ: no read_timeout or write_timeout: a broker that is out of memory blocks whoever sets an alarm."
        )
        yield Finding("broker_hangs", text, _set("read_timeout", "write_timeout"))
    tries = (settings["task_publish_retry_policy"] or {}).get("max_retries", 3)
    if tries is None or tries > 3:
        text = f"task_publish_retry_policy has max_retries {tries}: a broker that is down blocks whoever sets an alarm."
        advice = 'Set CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1}: the dispatcher does the rest.'
        yield Finding("broker_retries", text, advice)
    yield from _judge_workers(settings)


#: What sets each of these, for whoever has written none of them.
_ALL = " durable_objects.celery_settings() sets it, and all else that is needed."


def _set(*names: str) -> str:
    """Return the advice to set these options, as ``celery_settings()`` does."""
    kind = "redis" if "socket_timeout" in names else "amqp"
    options = {name: value for name, value in celery_config.transport_options(kind).items() if name in names}
    return f"Add {options} to CELERY_BROKER_TRANSPORT_OPTIONS.{_ALL}"


def _judge_workers(settings: dict[str, Any]) -> Iterator[Finding]:
    scheme = settings["broker"]
    if scheme != "memory" and str(settings["worker_consumer"]).startswith("celery."):
        text = f"CELERY_WORKER_CONSUMER is Celery's own: a worker exits when {scheme} refuses a connection or restarts."
        yield Finding("broker_worker", text, f'Set CELERY_WORKER_CONSUMER = "{celery_config.CONSUMER}".{_ALL}')
    if settings["result_backend"] and not str(settings["result_backend"]).startswith("disabled"):
        text = "A result backend is set: alarms store no results, and it is one more server that can be down."
        yield Finding("broker_results", text, "Remove it unless your own tasks need it.", is_trouble=False)


def checks(now: datetime | None = None) -> Iterator[Finding]:
    """Find what ``manage.py check`` reports of the engine, apart from what a question above asks better, and errors of
    all else: no other command runs with one.
    """
    ours = [] if engine.flaw() or supported.unfit(engine.DATABASE) else [engine.DATABASE]
    for check in registry.registered_checks:
        is_ours = check.__module__ == "durable_objects.checks"
        if not is_ours and Tags.database in check.tags:
            continue
        for message in check(app_configs=None, databases=ours if is_ours else None):
            is_error = message.level >= ERROR
            is_asked = is_ours and str(message.id).rpartition(".")[2] in ASKED
            if (is_ours or is_error) and not is_asked and not message.is_silenced():
                yield Finding("check", f"{message.msg} ({message.id})", message.hint or "", is_trouble=is_error)


QUESTIONS: list[Question] = [
    checks,
    _clock_skew,
    _read_only,
    _not_migrated,
    _endless_wait,
    _sqlite,
    _beat_entry,
    _broker,
]
