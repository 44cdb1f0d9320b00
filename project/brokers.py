"""Celery settings for each kind of broker: what must never block a caller, and what must not be lost for long.

The alarm's row is the redelivery. A message may get lost or come twice, and nothing here tries to prevent that at the
price of anything else: it only has to be rare.
"""

from __future__ import annotations

from typing import Any

from kombu import Exchange, Queue

#: Alarms, and the tasks of your own. A worker consumes both queues unless ``-Q`` names one.
ALARMS = "alarms"
#: The dispatcher's passes: a worker of their own (``-Q dispatch``) is never held up by slow handlers.
DISPATCH = "dispatch"

#: How long a caller who sets an alarm waits for each step of publishing. At worst that is once on a connection that
#: froze and, with the one retry, twice on a new one: 1.25 s. Then nobody tries for some seconds (``BREAK_SECONDS``).
CALLER_SECONDS = 0.4
#: A worker has no caller waiting, and all its queues to declare on a busy broker.
WORKER_SECONDS = 4.0

_SCHEMES = {"memory": "memory", "redis": "redis", "rediss": "redis", "amqp": "amqp", "amqps": "amqp", "pyamqp": "amqp"}


def celery_settings(url: str) -> dict[str, Any]:
    """Return every ``CELERY_*`` setting for the broker at ``url``, by its name in Django's settings.

    For an unknown scheme: what applies to all, and Celery's own defaults.
    """
    kind = _kind(url)
    settings = {
        "broker_url": url,
        "broker_transport_options": transport_options(url),
        "broker_connection_timeout": CALLER_SECONDS,
        **_EVERYWHERE,
        **_queues(kind),
        **(_RABBITMQ if kind == "amqp" else {}),
    }
    return {f"CELERY_{name.upper()}": value for name, value in settings.items()}


def worker_settings(url: str) -> dict[str, Any]:
    """Return what differs for a worker, by Celery's own names: longer time-outs."""
    return {
        "broker_transport_options": transport_options(url, WORKER_SECONDS),
        "broker_connection_timeout": WORKER_SECONDS,
    }


def transport_options(url: str, seconds: float = CALLER_SECONDS) -> dict[str, Any]:
    """Return ``broker_transport_options`` for the broker at ``url``, where each step may take ``seconds``."""
    if _kind(url) == "memory":
        # The worker's thread looks this often; the default of a second would be every alarm's lateness.
        return {"polling_interval": 0.01}
    if _kind(url) == "redis":
        return {
            # Without these a Redis that vanished or froze holds whoever sets an alarm, for minutes or for ever.
            "socket_connect_timeout": seconds,
            "socket_timeout": seconds,
            "socket_keepalive": True,
            # A message that a worker held when it died comes back after this. Far beyond the horizon: a message that
            # merely waits for its time must not come back. Looked for every 10 s (the default is every 100 s).
            "visibility_timeout": 600,
            "unacked_restore_throttle": 1,
        }
    if _kind(url) == "amqp":
        # A broker that blocks publishers says nothing: only a confirmation tells, and only a timeout ends the wait.
        return {"confirm_publish": True, "read_timeout": seconds, "write_timeout": seconds}
    return {}


def _kind(url: str) -> str | None:
    return _SCHEMES.get(url.partition("://")[0].lower())


def _queues(kind: str | None) -> dict[str, Any]:
    """Return the two queues. On RabbitMQ quorum queues, and a topic exchange: the only kind that can delay messages."""
    exchange = Exchange("durable_objects", type="topic" if kind == "amqp" else "direct")
    arguments = {"x-queue-type": "quorum"} if kind == "amqp" else None
    return {
        "task_queues": [
            Queue(name, exchange, routing_key=name, queue_arguments=arguments) for name in (ALARMS, DISPATCH)
        ],
        "task_default_queue": ALARMS,
        "task_default_exchange": exchange.name,
        "task_default_exchange_type": exchange.type,
        "task_default_routing_key": ALARMS,
        "task_routes": {"durable_objects.dispatch_alarms": {"queue": DISPATCH}},
    }


_RABBITMQ: dict[str, Any] = {
    "broker_native_delayed_delivery_queue_type": "quorum",
    # A host that vanished is missed after twice this.
    "broker_heartbeat": 20,
    # A message arrives up to a second before its time and is held by the worker, in a window that does not grow: full
    # of these, it would keep out for that second what is due now. What waits behind a slow handler
    # instead is published again after 10 s, for any worker.
    "worker_prefetch_multiplier": 64,
}

_EVERYWHERE: dict[str, Any] = {
    # Acknowledged when it starts. The dispatcher publishes again what a lost worker left behind, and knows from the
    # row whether it still has to; a message that comes back as well is a duplicate, without a limit or a delay.
    "task_acks_late": False,
    "task_reject_on_worker_lost": False,
    # One retry at once, for a connection that broke while nobody used it.
    "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0.05, "interval_step": 0, "interval_max": 0.05},
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    # Celery's own consumer ends the worker for what is no lost connection, and for some that are.
    "worker_consumer": "durable_objects.worker:Consumer",
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_ignore_result": True,
    "enable_utc": True,
    "timezone": "UTC",
    "worker_hijack_root_logger": False,
    # Messages that wait for their time widen the window by themselves. Few of those that are due, so that little waits
    # behind a slow handler while another worker is free.
    "worker_prefetch_multiplier": 4,
    # Brokers without an event loop (memory among them) sleep this long between looks at what is due.
    "worker_timer_precision": 0.05,
    # Celery closes Django's connections around every task unless it may reuse them this often. durable_objects checks
    # before each task whether the connection still works.
    "db_reuse_max": 1_000_000,
    "beat_scheduler": "durable_objects.scheduler:DatabaseScheduler",
}
