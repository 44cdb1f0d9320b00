"""The Celery tasks. A message is a hint; the alarm's row decides."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Task, current_app, shared_task
from celery.exceptions import WorkerShutdown, WorkerTerminate
from celery.signals import worker_process_init, worker_ready, worker_shutdown
from django.db import Error, close_old_connections

from durable_objects import handler_errors, process
from durable_objects.alarms import backoff
from durable_objects.conf import engine
from durable_objects.database import clock, connection, supported
from durable_objects.database.messages import message_for
from durable_objects.delivery import brokers, bulk_operations, dispatcher, heartbeat, publisher, workers
from durable_objects.errors import DurableObjectError
from durable_objects.execution import waiting_line
from durable_objects.execution.executor import fire
from durable_objects.execution.groups import fire_group
from durable_objects.execution.shared_messages import fire_each
from durable_objects.execution.wake_up_admission import Fired, Verdict
from durable_objects.formatting import span
from durable_objects.logs import about, get_logger

logger = get_logger(__name__)

#: Seconds that a soft time limit leaves the handler beyond its own ``alarm_time_limit``, so that the row's rule wins.
_SOFT_LIMIT_MARGIN = 5

#: What a slow neighbour takes away of that at most, before the rest of its message is sent on.
_SECONDS_BEHIND_EACH = 0.1

#: The header with the content types of the objects: a worker of an older version, which does not know it, looks each
#: up, and wakes alone what came together.
KINDS = "durable_objects_kinds"

#: Whatever the project's settings are for its own tasks: a wake-up is acknowledged when it starts. The dispatcher
#: publishes again what a lost worker left behind, and knows from the row whether it still has to; a message that comes
#: back as well is a duplicate, without a limit or a delay.
_OPTIONS: dict[str, Any] = {"acks_late": False, "reject_on_worker_lost": False, "ignore_result": True}


@worker_ready.connect
def count_threads(sender: Any, **kwargs: Any) -> None:
    """Note how many alarms run at once in this process. A prefork pool's children, one each, are forked before."""
    process.threads = getattr(sender.pool, "limit", None)
    has_threads = not type(sender.pool).__module__.endswith(("prefork", "solo"))
    if has_threads and (why := supported.small_pool(engine.DATABASE, process.threads)):
        logger.warning("%s Set max_size to more than the threads of a process", why)


@worker_process_init.connect
def keep_inherited_objects(**kwargs: Any) -> None:
    """Leave what a process of a prefork pool has inherited out of its garbage collections: each that goes through all
    of it stops a run for 50 ms, and copies memory that was shared.
    """
    gc.freeze()


@worker_ready.connect
def begin_heartbeat(**kwargs: Any) -> None:
    """Keep a row of this worker, by which pages tell that it lives and how busy it is."""
    heartbeat.begin()


@worker_ready.connect
def answer_questions(**kwargs: Any) -> None:
    """Answer the doctor, and ``alarms explain``."""
    workers.answer()


@worker_shutdown.connect
def forget_threads(**kwargs: Any) -> None:
    """Note that no alarm runs in this process any more."""
    heartbeat.end()
    process.threads = None


class AlarmRunFailed(Exception):
    """``alarm()`` raised: Celery retries the task after 2, 4, 8 … s. The cause is the handler's error."""


class AlarmDied(Exception):
    """No run of the alarm is left: it is dead. The log has one error on it; to Celery the task has failed as well."""


@shared_task(
    bind=True,
    name="durable_objects.fire_alarm",
    **_OPTIONS,
    throws=(AlarmDied,),  # logged already
    autoretry_for=(AlarmRunFailed,),
    retry_backoff=backoff.FIRST_RETRY_SECONDS,
    retry_backoff_max=backoff.LONGEST_RETRY_SECONDS,
    retry_jitter=False,
    max_retries=backoff.ALARM_MAX_RETRIES,
)
def fire_alarm(
    self: Task[Any, Any], object_id: int, wake_up_number: int | None = None, rescue: bool = False, waits: int = 0
) -> str:
    """Run the alarm of one object; return the verdict. Any number of deliveries leads to one run at a time.

    Raises ``AlarmDied`` where this was the last run that failed.
    """
    _begin(self)
    kind_id = self.request.get(KINDS, [None])[0]
    try:
        fired = fire(object_id, wake_up_number, kind_id=kind_id, rescue=rescue, waits=waits)
    except Error as error:
        if (put_off := waiting_line.after_lost_connection(error, waits)) is None:
            raise
        fired = put_off
    if fired.verdict is Verdict.AGAIN and fired.delay is not None:
        number = wake_up_number if fired.wake_up_number is None else fired.wake_up_number
        again = (
            object_id,
            number,
            rescue and fired.wake_up_number is None,
            0 if fired.wake_up_number is not None else waits + 1,
        )
        _, soft_limit = self.request.timelimit or (None, None)
        _send(again, fired.delay, kind_id, retries=self.request.retries, soft_time_limit=soft_limit)
    elif fired.verdict is Verdict.FAILED and fired.delay is not None:
        _retry(self, (object_id, wake_up_number), fired)
    elif fired.verdict is Verdict.DEAD:
        raise _died(object_id, fired)
    return str(fired.verdict.value)


@shared_task(bind=True, name="durable_objects.fire_alarms", throws=(AlarmDied,), **_OPTIONS)
def fire_alarms(self: Task[Any, Any], alarms: list[tuple[int, int]], seconds: float) -> int:
    """Run the alarms of several objects, pairs of object and wake-up number; return how many ran. Never retried.

    ``seconds`` is what each run may take. With the kinds of the objects in its header they run one after the other
    (``shared_messages``); raises ``AlarmDied`` then for the first that is dead. Otherwise they are a group: one that
    fails here, or cannot run with others, is woken alone.
    """
    _begin(self)
    limit, kinds = timedelta(seconds=seconds), self.request.get(KINDS)
    if kinds is None:
        return fire_group(alarms, limit)
    outcome = fire_each(((*pair, kind_id) for pair, kind_id in zip(alarms, kinds, strict=True)), limit)
    if outcome.dead:
        raise _died(*outcome.dead[0])
    return outcome.ran


@shared_task(bind=True, name="durable_objects.do_operation", **_OPTIONS)
def do_operation(self: Task[Any, Any], pk: int, number: int) -> str:
    """Go on with an operation on many objects for some seconds; return its state, or that another worker has it."""
    _begin(self)
    return bulk_operations.work(pk, number)


class PassFailed(Exception):
    """The database refused a pass of the dispatcher: the log has one line on it, and beat sends the next pass."""


@shared_task(bind=True, name="durable_objects.dispatch_alarms", throws=(PassFailed,), **_OPTIONS)
def dispatch_alarms(self: Task[Any, Any]) -> dict[str, int]:
    """Make a pass of the dispatcher, or several while it is behind, and return its figures. Raises ``PassFailed``."""
    _begin(self)
    try:
        return dispatcher.catch_up(engine.DISPATCH_EVERY).as_dict()
    except Error as error:
        reason = message_for(error)
        every, extra = span(engine.DISPATCH_EVERY), about("pass_failed")
        logger.error("the pass failed, and is made again within %s: %s", every, reason, extra=extra)
        raise PassFailed(reason) from error


def _died(object_id: int, fired: Fired) -> AlarmDied:
    died = AlarmDied(f"object {object_id}: {handler_errors.in_short(fired.error)}")
    died.__cause__ = fired.error and handler_errors.formattable(fired.error)
    return died


def _begin(task: Task[Any, Any]) -> None:
    """Work on a connection that works, outside of any transaction but a test case's. Raises ``DurableObjectError``:
    what failed in another one would be counted in it, and undone with it. The wake-up then counts as lost.
    """
    if not clock.connection().in_atomic_block:  # that of a test case is not ours to close
        close_old_connections()  # a worker that keeps its connections may have one that the server has dropped
    if connection.joins_transaction(clock.connection()):
        raise DurableObjectError(
            f"{task.name} was called inside a transaction, with which every failure that it counts would be undone: "
            "nothing was run. Open none around it: where a task class of your own (task_cls) opens one for each task, "
            "let it leave out those named durable_objects.*"
        )


def settings_in_force() -> dict[str, Any]:
    """Return those of Celery's settings that can lose wake-ups or delay callers, as this process has them."""
    conf = current_app.conf
    names = ("task_always_eager", "task_publish_retry_policy", "result_backend", "worker_consumer")
    return {name: conf[name] for name in names} | {
        "broker": brokers.brokers()[0].kind,
        "brokers": [broker.kind for broker in brokers.brokers()],
        "broker_transport_options": dict(conf.broker_transport_options or {}),
    }


def _retry(task: Task[Any, Any], args: tuple[int, int | None], fired: Fired) -> None:
    """Let autoretry send the retry; where the row says otherwise than it would, send it as the row says."""
    failure = AlarmRunFailed(f"object {args[0]}: {handler_errors.in_short(fired.error)}, retry {fired.failures}")
    failure.__cause__ = fired.error and handler_errors.formattable(fired.error)
    delay = fired.delay or timedelta(0)
    is_usual = fired.failures <= backoff.ALARM_MAX_RETRIES and delay == backoff.retry_delay(fired.failures)
    if is_usual and task.request.retries == fired.failures - 1:
        raise failure
    task.request.retries = fired.failures - 1
    raise task.retry(args=args, exc=failure, countdown=delay.total_seconds(), max_retries=None)


def _publish(wake_up: publisher.WakeUp) -> None:
    limit = wake_up.time_limit.total_seconds() + _SOFT_LIMIT_MARGIN
    args: tuple[Any, ...] = (wake_up.object_id, wake_up.wake_up_number, wake_up.rescue)
    if wake_up.waits:
        args = (*args, wake_up.waits)
    delay = wake_up.at - datetime.now(UTC)
    _send(args, delay, wake_up.kind_id, retries=wake_up.retries, soft_time_limit=limit)


def _publish_several(wake_ups: Sequence[publisher.WakeUp]) -> None:
    one_by_one = wake_ups[0].shares is publisher.Shares.MESSAGE
    if one_by_one and not brokers.takes_several():
        for each in wake_ups:
            _publish(each)
        return
    limit = wake_ups[0].time_limit.total_seconds()
    options = _when(min(wake_up.at for wake_up in wake_ups) - datetime.now(UTC))
    options["soft_time_limit"] = limit + _SOFT_LIMIT_MARGIN
    if one_by_one:
        options["soft_time_limit"] += len(wake_ups) * _SECONDS_BEHIND_EACH
        options["headers"] = options.get("headers", {}) | {KINDS: [wake_up.kind_id for wake_up in wake_ups]}
    alarms = [(wake_up.object_id, wake_up.wake_up_number) for wake_up in wake_ups]
    _apply(fire_alarms, (alarms, limit), options)


def _send(args: tuple[Any, ...], delay: timedelta, kind_id: int | None, **options: Any) -> None:
    options |= _when(delay)
    if kind_id is not None:
        options["headers"] = options.get("headers", {}) | {KINDS: [kind_id]}
    _apply(fire_alarm, args, options)


def _ask(pk: int, number: int, delay: timedelta) -> None:
    _apply(do_operation, (pk, number), _when(delay))


def _apply(task: Task[Any, Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
    """Send the task; in Celery's eager mode nothing is sent, since it would run here, inside whoever set the alarm.

    Raises what the broker's client raises, and ``NotPrepared`` for a RabbitMQ that does not delay messages yet.
    """
    if current_app.conf.task_always_eager:
        return
    try:
        task.apply_async(args, **options)
    except Exception as error:
        if "no exchange 'celery_delayed_" in str(error):
            raise publisher.NotPrepared("RabbitMQ delays none before a worker has started once") from error
        raise


def _when(delay: timedelta) -> dict[str, Any]:
    """Return Celery's options for a task that starts after this delay.

    RabbitMQ's delayed delivery counts whole seconds and refuses 0: what comes sooner is sent at once, with the time in
    its header, by which the worker keeps it until then. A process of its pool has better things to do than to wait.
    """
    if delay >= timedelta(seconds=1):
        return {"countdown": delay.total_seconds()}
    if delay > timedelta(0):
        return {"headers": {"eta": (datetime.now(UTC) + delay).isoformat()}}
    return {}


def _broker_is_private() -> bool:
    """Return whether no other process can consume what this one sends."""
    return current_app.conf.task_always_eager or all(broker.kind == "memory" for broker in brokers.brokers())


handler_errors.never_count(WorkerShutdown, WorkerTerminate)
publisher.register(_publish, _broker_is_private, _publish_several)
bulk_operations.register_send(_ask)
