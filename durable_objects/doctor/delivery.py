"""Questions about the way of a wake-up: this process's Celery app, the brokers, the queue and its workers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from durable_objects.alarms.queries import alarms_in
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.delivery import brokers, processes
from durable_objects.delivery.beat import is_installed
from durable_objects.doctor.finding import Finding, Question
from durable_objects.operations.explain import start_worker

#: How long a broker, and then the workers, may take to answer.
SECONDS_TO_ANSWER = 2.0
SECONDS_FOR_WORKERS = 1.0
#: Kinds of brokers that the engine was tested with.
TRIED = {"redis", "amqp", "memory"}


def _celery_app(now: datetime) -> Iterator[Finding]:
    if not brokers.is_own_app():
        text = f"This process does not use your Celery app: wake-ups go to Celery's default, {brokers.brokers()[0]}."
        advice = "Import the app in your project's __init__.py: `from .celery import app as celery_app`."
        yield Finding("celery_app", text, advice)


def _brokers(now: datetime) -> Iterator[Finding]:
    """Find brokers that cannot be reached; if one can, whether a worker consumes from it."""
    asked = [broker for broker in brokers.brokers() if broker.kind != "memory"]
    if not asked:
        return
    for broker in asked:
        if broker.kind not in TRIED:
            text = f"The broker is {broker.scheme}: whether it delays messages, or blocks callers, was never tested."
            yield Finding("broker_kind", text, "Use Redis or RabbitMQ, which were.", is_trouble=False)
    flaws = {broker: flaw for broker in asked if (flaw := broker.flaw()) is not None}
    for broker, flaw in flaws.items():
        text = f"No wake-up can be sent to {broker}: {flaw}."
        yield Finding("broker_transport", text, "Install what it needs, or correct CELERY_BROKER_URL.")
    usable = [broker for broker in asked if broker not in flaws]
    silent = brokers.unreachable(usable, SECONDS_TO_ANSWER)
    others = len(silent) < len(usable)
    for broker, why in silent.items():
        text = f"The broker does not answer: {broker} ({why})." + (" Another one does." if others else "")
        yield Finding("broker_away", text, "Start it, or correct CELERY_BROKER_URL.", is_trouble=not others)
    if others and clock.fake is None:
        yield from _workers(now)


def _workers(now: datetime) -> Iterator[Finding]:
    """Find workers by Celery's remote control, which one may have off: silence alone is a notice."""
    alarm = alarms_in("armed", now).first()
    if alarm is None:
        return
    try:
        queue = brokers.queue(alarm.pk, alarm.wake_up_number)
    except brokers.RouteFailed as error:
        text = f"No wake-up can be sent: CELERY_TASK_ROUTES raised {error}."
        yield Finding(
            "route", text, "Let the function accept what Celery passes to it: see routes in docs/guides/production.md."
        )
        return
    listeners = brokers.active_queues(SECONDS_FOR_WORKERS)
    if queue is None or any(queue in queues for queues in listeners.values()):
        return
    if listeners:
        text = (
            f"Wake-ups go to the queue {queue!r}, from which none of the {len(listeners)} workers that answer consumes."
        )
        yield Finding("queue", text, f"{start_worker(queue)} Or route the task to a queue that has one.")
    else:
        text = f"No worker answered within {SECONDS_FOR_WORKERS:g} s; wake-ups go to the queue {queue!r}."
        advice = f"{start_worker(queue)} One without remote control does not answer, nor does a busy solo pool."
        yield Finding("workers", text, advice, is_trouble=False)


def _beat_scheduler(now: datetime) -> Iterator[Finding]:
    if engine.DISPATCHED_BY == "beat" and is_installed() and not brokers.reads_entries():
        awake = processes.trouble(now) is None
        text = f"CELERY_BEAT_SCHEDULER is {brokers.beat_scheduler()}, which never reads beat's entry in the database."
        advice = 'Set CELERY_BEAT_SCHEDULER = "durable_objects.scheduler:DatabaseScheduler", or start beat with -S.'
        yield Finding("beat_scheduler", text, advice, is_trouble=not awake)


QUESTIONS: list[Question] = [_celery_app, _beat_scheduler, _brokers]
