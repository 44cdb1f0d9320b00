"""Questions about the way of a wake-up: this process's Celery app, the brokers, the queue and its workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial

from durable_objects.alarms.queries import alarms_in
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.delivery import brokers, processes, workers
from durable_objects.delivery.beat import TASK, is_installed
from durable_objects.delivery.celery_config import SCHEDULER
from durable_objects.doctor.finding import Finding, Question

#: How long a broker may take to answer.
SECONDS_TO_ANSWER = 2.0


def _celery_app(now: datetime) -> Iterator[Finding]:
    if flaw := brokers.app_flaw():
        yield Finding("celery_app", flaw.text, flaw.advice)


def _brokers(now: datetime) -> Iterator[Finding]:
    """Find brokers that cannot be reached; if one can, whether a worker consumes from it."""
    asked = [broker for broker in brokers.brokers() if broker.kind != "memory"]
    if not asked or brokers.app_flaw():  # of an app that nobody made, or that lacks the settings
        return
    yield from _untried(asked)
    yield from _without_transport(asked)
    usable = [broker for broker in asked if broker.flaw() is None]
    silent = brokers.unreachable(usable, SECONDS_TO_ANSWER)
    others = len(silent) < len(usable)
    for broker, why in silent.items():
        text = f"The broker does not answer: {broker} ({why})." + (" Another one does." if others else "")
        yield Finding("broker_away", text, "Start it, or correct CELERY_BROKER_URL.", is_trouble=not others)
    if others and clock.fake is None:
        yield from _queues(now)


def _untried(asked: list[brokers.Broker]) -> Iterator[Finding]:
    """Find brokers of a kind that the engine was never tested with."""
    for broker in asked:
        if flaw := broker.untried():
            yield Finding("broker_kind", flaw.text, flaw.advice, is_trouble=False)


def _without_transport(asked: list[brokers.Broker]) -> Iterator[Finding]:
    """Find brokers that no wake-up can be sent to: there is no such transport, or its package is missing."""
    for broker in asked:
        if flaw := broker.flaw():
            yield Finding("broker_transport", flaw.text, flaw.advice)


def _queues(now: datetime) -> Iterator[Finding]:
    """Find queues that no worker consumes from, by Celery's remote control."""
    alarm = alarms_in("armed", now).first()
    where: dict[str, Callable[[], str | None]] = {
        "Wake-ups": partial(brokers.queue, alarm.pk, alarm.wake_up_number) if alarm else brokers.queue
    }
    if engine.DISPATCHED_BY == "beat":
        where["The dispatcher's passes"] = brokers.pass_queue
    nobody = processes.trouble(now) is not None
    queues: dict[str, str | None] = {}
    for what, route in where.items():
        try:
            queues[what] = route()
        except brokers.RouteFailed as error:
            is_trouble = what == "Wake-ups" or nobody
            yield Finding("route", f"{what} cannot be sent: {error}.", error.advice, is_trouble=is_trouble)
    listeners = workers.listening([*queues.values()])
    for queue in dict.fromkeys(queues.values()):
        if queue is not None and (flaw := workers.strangers(queue, listeners)):
            yield Finding("other_installation", flaw.text, flaw.advice)
    for what, queue in queues.items():
        if queue is not None and (listeners or what == "Wake-ups"):
            yield from _consumers(what, queue, listeners, is_trouble=what == "Wake-ups" or nobody)


def _consumers(what: str, queue: str, listeners: list[workers.Listener], *, is_trouble: bool) -> Iterator[Finding]:
    """Find that no worker consumes from a queue. One may have remote control off: silence alone is a notice."""
    if flaw := workers.nobody(queue, listeners):
        if listeners:
            text = f"{what} go to the queue {queue!r}, and no worker takes them there. {flaw.text}"
            yield Finding("queue", text, flaw.advice, is_trouble=is_trouble)
        else:
            text = f"{what} go to the queue {queue!r}; whether a worker takes them is not known. {flaw.text}"
            yield Finding("workers", text, flaw.advice, is_trouble=False)


def _no_dispatcher_yet(now: datetime) -> Iterator[Finding]:
    """Find that nobody dispatches before an alarm needs it; once one is set, another question calls it trouble."""
    trouble = processes.trouble(now)
    if trouble is not None and not alarms_in("armed", now).exists():
        advice = "Start one before alarms are set: those far away, and those whose message is lost, wait for it."
        yield Finding("dispatcher", trouble, advice, is_trouble=False)


def _beat_scheduler(now: datetime) -> Iterator[Finding]:
    if brokers.scheduled_tasks() & {TASK}:  # in CELERY_BEAT_SCHEDULE, which every scheduler reads
        return
    if engine.DISPATCHED_BY == "beat" and is_installed() and not brokers.reads_entries():
        awake = processes.trouble(now) is None
        text = f"CELERY_BEAT_SCHEDULER is {brokers.beat_scheduler()}, which never reads beat's entry in the database."
        advice = (
            f'Set CELERY_BEAT_SCHEDULER = "{SCHEDULER}", or start beat with that: '
            f"`celery -A PROJECT beat -S {SCHEDULER}`."
        )
        yield Finding("beat_scheduler", text, advice, is_trouble=not awake)


QUESTIONS: list[Question] = [_celery_app, _no_dispatcher_yet, _beat_scheduler, _brokers]
