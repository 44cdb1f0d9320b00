"""Which settings of Celery does each kind of broker need: so that no caller is held up, and no wake-up lost for long?

The alarm's row is the redelivery. A message may get lost or come twice, and nothing here tries to prevent that at the
price of anything else: it only has to be rare. Plain data: neither Celery nor kombu is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from durable_objects.conf import engine
from durable_objects.delivery import beat

#: The queue of wake-ups, and that of the dispatcher's passes: a worker of their own (``-Q dispatch``) is never held up
#: by slow handlers.
ALARMS, DISPATCH = "alarms", "dispatch"
EXCHANGE = "durable_objects"

_DICTS = ("CELERY_BROKER_TRANSPORT_OPTIONS", "CELERY_BEAT_SCHEDULE", "CELERY_TASK_PUBLISH_RETRY_POLICY")
#: The settings that ``wrong_types`` judges.
JUDGED = (*_DICTS, "CELERY_TASK_QUEUES")

#: How long a caller who sets an alarm waits for each step of publishing. At worst that is once on a connection that
#: froze and, with the one retry, twice on a new one: 1.25 s. Then nobody tries for some seconds (``BREAK_SECONDS``).
#: A worker waits longer (``durable_objects.worker``).
CALLER_SECONDS = 0.4
CONSUMER = "durable_objects.worker:Consumer"
SCHEDULER = "durable_objects.scheduler:DatabaseScheduler"

#: Kinds of brokers by the scheme of their addresses; all others are of a kind that is called as their scheme.
_KINDS = {
    "redis": "redis", "rediss": "redis", "sentinel": "redis",
    "amqp": "amqp", "amqps": "amqp", "pyamqp": "amqp", "librabbitmq": "amqp",
}  # fmt: skip

_EVERYWHERE: dict[str, Any] = {
    "broker_connection_timeout": CALLER_SECONDS,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    # One retry at once, for a connection that broke while nobody used it.
    "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0.05, "interval_step": 0, "interval_max": 0.05},
    # Celery's own consumer ends the worker for what is no lost connection, and for some that are.
    "worker_consumer": CONSUMER,
    # Brokers without an event loop (memory among them) sleep this long between looks at what is due.
    "worker_timer_precision": 0.05,
}
#: A RabbitMQ whose host vanished is missed after twice this.
_HEARTBEAT = 20
#: On quorum queues a message arrives up to a second before its time and is held by the worker, in a window that does
#: not grow: full of these, it would keep out for that second what is due now. What waits behind a slow handler instead
#: is published again after 10 s, for any worker: so only where all messages are wake-ups.
_WINDOW = 64


def celery_settings(
    broker_url: str | Sequence[str],
    own: Mapping[str, Any] | None = None,
    *,
    queue: str = ALARMS,
    dispatch_queue: str = DISPATCH,
    quorum_queues: bool = True,
) -> dict[str, Any]:
    """Return Celery's settings for this broker, by their names in Django's (``CELERY_…``). To be called last of them::

        globals().update(celery_settings(CELERY_BROKER_URL, globals()))

    ``own`` are the settings so far. What they say stands: queues, routes, transport options and beat's schedule are
    completed, and ``CELERY_TASK_DEFAULT_QUEUE`` (``"celery"`` if unset) stays the queue of all other tasks. Only
    ``durable_objects.*`` are routed: wake-ups to ``queue``, passes of the dispatcher to ``dispatch_queue``. A worker
    without ``-Q`` consumes from all of them.

    Without ``quorum_queues`` RabbitMQ gets classic queues: then workers, not the broker, delay messages. Of a broker
    that is neither Redis nor RabbitMQ nor memory, only what applies to all is returned. Where the default queue is
    ``queue`` itself, the broker counts as the engine's alone, and is tuned for that.

    Raises ``ImproperlyConfigured`` without a broker's address, and for settings of another kind than Celery's.
    """
    own = {} if own is None else own
    if wrong := flaw_of_address(broker_url):
        raise ImproperlyConfigured(f"The broker's address for celery_settings() {wrong}")
    if flaws := wrong_types(own):
        raise ImproperlyConfigured(flaws[0])
    kind = kind_of(broker_url if isinstance(broker_url, str) else broker_url[0])
    alone = own.get("CELERY_TASK_DEFAULT_QUEUE") == queue
    quorum = quorum_queues and kind == "amqp"
    settings = {
        **_EVERYWHERE,
        **({"broker_heartbeat": _HEARTBEAT} if kind == "amqp" else {}),
        **({"worker_prefetch_multiplier": _WINDOW} if quorum and alone else {}),
        **_beat(own),
    }
    named = {f"CELERY_{name.upper()}": value for name, value in settings.items()}
    return (
        {name: own.get(name, value) for name, value in named.items()}
        | {
            "CELERY_BROKER_URL": broker_url,
            "CELERY_BROKER_TRANSPORT_OPTIONS": {
                **transport_options(kind, alone=alone),
                **(own.get("CELERY_BROKER_TRANSPORT_OPTIONS") or {}),
            },
            "CELERY_TASK_QUEUES": _queues(own, (queue, dispatch_queue), quorum=quorum),
            "CELERY_TASK_ROUTES": _routes(own, queue, dispatch_queue),
        }
        | _schedule(own)
    )


def flaw_of_address(given: Any) -> str | None:
    """Return what is wrong with a broker's address, or a list of them, without showing it; None for nothing."""
    urls = given if isinstance(given, list | tuple) else [given]
    wrong = [type(each).__name__ for each in urls if not isinstance(each, str)]  # the value may be secret
    if not wrong and urls and all(each.strip() for each in urls):
        return None
    return (
        f"is {f'of type {wrong[0]}' if wrong else 'empty'}; expected a text such as "
        '"redis://127.0.0.1:6379/0", or a list of them. Is the variable set that it is read from?'
    )


def wrong_types(given: Mapping[str, Any]) -> list[str]:
    """Return which of these settings, by their names in Django's, are of another type than Celery's; no value."""
    found = [
        f"{name} is of type {type(given[name]).__name__}; expected a dict"
        for name in _DICTS
        if given.get(name) and not isinstance(given[name], Mapping)
    ]
    queues = given.get("CELERY_TASK_QUEUES") or {}
    each_of = queues.values() if isinstance(queues, Mapping) else queues if isinstance(queues, Iterable) else [queues]
    in_dict = Mapping if isinstance(queues, Mapping) else ()
    wrong = [type(each).__name__ for each in each_of if not (hasattr(each, "name") or isinstance(each, in_dict))]
    expected = 'expected kombu.Queue objects in a list, or options by name, each a dict: {"celery": {}}'
    return found + [f"CELERY_TASK_QUEUES has a {kind} in it; {expected}" for kind in wrong[:1]]


def scheme_of(url: str) -> str:
    """Return the scheme of a broker's address, ``redis+socket`` or ``amqps``; Celery's own where it has none."""
    return url.strip().partition(":")[0].lower() if ":" in url else "amqp"


def kind_of(url: str) -> str:
    """Return ``redis``, ``amqp``, ``memory``, or the scheme of what the engine knows nothing about."""
    name = scheme_of(url).partition("+")[0]
    return _KINDS.get(name, name)


def transport_options(kind: str, *, alone: bool = False) -> dict[str, Any]:
    """Return ``broker_transport_options`` for this kind of broker; ``alone``: all messages on it are the engine's."""
    if kind == "memory":
        # The worker's thread looks this often; the default of a second would be every alarm's lateness.
        return {"polling_interval": 0.01}
    if kind == "redis":
        return {
            # Without these a Redis that vanished or froze holds whoever sets an alarm, for minutes or for ever.
            "socket_connect_timeout": CALLER_SECONDS,
            "socket_timeout": CALLER_SECONDS,
            "socket_keepalive": True,
            # A message that a worker held when it died comes back after this, looked for every 10 s. Far beyond the
            # horizon: a message that merely waits for its time must not come back. Tasks of others may run or wait for
            # longer, so theirs stays Celery's default, an hour.
            **({"visibility_timeout": 600, "unacked_restore_throttle": 1} if alone else {}),
        }
    if kind == "amqp":
        # A broker that blocks publishers says nothing: only a confirmation tells, and only a timeout ends the wait.
        return {"confirm_publish": True, "read_timeout": CALLER_SECONDS, "write_timeout": CALLER_SECONDS}
    return {}


def _queues(own: Mapping[str, Any], names: Sequence[str], *, quorum: bool) -> dict[str, Any]:
    """Return all queues: the project's own, its default queue where it lists none, and the engine's.

    Quorum queues get a topic exchange: the only kind for which RabbitMQ can delay messages. The default queue stays as
    Celery declares it: a queue that exists cannot be declared otherwise.
    """
    listed = own.get("CELERY_TASK_QUEUES") or {}
    if not isinstance(listed, Mapping):
        listed = {each.name: each for each in listed}
    theirs = {name: each for name, each in listed.items() if not _is_made_here(each)}
    options: dict[str, Any] = {"exchange": EXCHANGE, "exchange_type": "topic" if quorum else "direct"}
    if quorum:
        options["queue_arguments"] = {"x-queue-type": "quorum"}
    ours = {name: {**options, "routing_key": name} for name in names}
    default = own.get("CELERY_TASK_DEFAULT_QUEUE") or "celery"
    return {**({} if theirs or default in ours else {default: {}}), **ours, **theirs}


def _is_made_here(queue: Any) -> bool:
    """Return whether an earlier call has made it: the broker may be another one now."""
    return isinstance(queue, Mapping) and queue.get("exchange") == EXCHANGE


def _routes(own: Mapping[str, Any], queue: str, dispatch_queue: str) -> list[Any]:
    """Return the engine's routes before the project's own, which may be any that Celery takes."""
    ours = {beat.TASK: {"queue": dispatch_queue}, "durable_objects.*": {"queue": queue}}
    routes = own.get("CELERY_TASK_ROUTES") or ()
    theirs = routes if isinstance(routes, list | tuple) else [routes]
    return [ours, *(route for route in theirs if route != ours)]


def _beat(own: Mapping[str, Any]) -> dict[str, Any]:
    return {"beat_scheduler": SCHEDULER} if _has_django_celery_beat(own) else {}


def _schedule(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return beat's schedule with an entry for the dispatcher, where no entry in the database is read instead."""
    schedule = own.get("CELERY_BEAT_SCHEDULE") or {}
    given = own.get("DURABLE_OBJECTS")
    given = given if isinstance(given, Mapping) else {}  # what is none is refused by a check
    in_database = _has_django_celery_beat(own) and not str(own.get("CELERY_BEAT_SCHEDULER", "")).startswith("celery.")
    entries = [each for each in schedule.values() if isinstance(each, Mapping) and each.get("task") == beat.TASK]
    if in_database or entries or given.get("DISPATCHED_BY") == "command":
        return {}
    usual = engine.default("DISPATCH_EVERY")
    every = given.get("DISPATCH_EVERY", usual)
    every = usual if engine.refused("DISPATCH_EVERY", every) else every
    entry = {"task": beat.TASK, "schedule": every, "options": {"expires": beat.expires_after(every)}}
    return {"CELERY_BEAT_SCHEDULE": {**schedule, beat.NAME: entry}}


def _has_django_celery_beat(own: Mapping[str, Any]) -> bool:
    return any(str(app).startswith("django_celery_beat") for app in own.get("INSTALLED_APPS", ()))
