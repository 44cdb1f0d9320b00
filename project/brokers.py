"""How Celery is to treat each kind of broker: what may never hang a caller, and what must not be lost for long."""

from __future__ import annotations

from typing import Any

_MEMORY = {
    # The worker's thread looks this often; the default of a second would be every alarm's lateness.
    "polling_interval": 0.01,
}
_REDIS = {
    # Without these a Redis that vanished or froze holds whoever sets an alarm, for minutes or for ever.
    "socket_connect_timeout": 1,
    "socket_timeout": 2,
    # A message that a dead worker held comes back after this. Wake-ups are sent at most about a minute ahead.
    "visibility_timeout": 600,
    "unacked_restore_throttle": 1,
}
_AMQP = {
    # A broker that blocks publishers says nothing: only a confirmation tells, and only a timeout ends the wait.
    "confirm_publish": True,
    "read_timeout": 2,
    "write_timeout": 2,
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "memory": _MEMORY,
    "redis": _REDIS,
    "rediss": _REDIS,
    "amqp": _AMQP,
    "amqps": _AMQP,
    "pyamqp": _AMQP,
}


def transport_options(url: str) -> dict[str, Any]:
    """``CELERY_BROKER_TRANSPORT_OPTIONS`` for the broker at ``url``; empty for a scheme that we know nothing about."""
    scheme = url.partition("://")[0].lower()
    return dict(_OPTIONS.get(scheme, {}))
