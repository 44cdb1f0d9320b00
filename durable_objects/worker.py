"""A Celery worker that no broker can end. In Django's settings, for any Celery app (``celery_settings()`` sets it)::

    CELERY_WORKER_CONSUMER = "durable_objects.worker:Consumer"

Celery's own goes on after a lost connection and ends by anything else: a Redis out of memory, read-only or without the
right to write, a connection lost a second time while the first loss is cleared away. A broker's trouble is a message
that comes late; a worker that ended is for somebody to start again. It looks for a lost broker every second, not after
2, 4, 6 … 30 s, and waits longer than those who set alarms for each step: its queues are many, and no caller waits.
"""

from __future__ import annotations

import time
from typing import Any

from celery.worker import consumer as celery_consumer
from celery.worker.consumer import delayed_delivery
from kombu import Connection
from kombu.common import Broadcast
from kombu.transport import native_delayed_delivery as delays

from durable_objects.delivery import brokers
from durable_objects.logs import get_logger

logger = get_logger(__name__)

#: A worker that was refused tries again after so long, for ever.
SECONDS_BETWEEN_TRIES = 1.0
#: A RabbitMQ that cannot be made to delay messages is asked again after 1, 2, 4 … s, at most this.
LONGEST_WAIT = 60.0
#: A worker waits at least so long for each step that a time-out is set for: it has all its queues to declare on a busy
#: broker.
SECONDS_PER_STEP = 4.0
_STEPS = ("socket_connect_timeout", "socket_timeout", "read_timeout", "write_timeout")

# Celery's classes have bases and methods that its type stubs do not know.
_CelerysDelayedDelivery: Any = delayed_delivery.DelayedDelivery
_CelerysConsumer: Any = celery_consumer.Consumer
_CELERYS = "celery.worker.consumer.delayed_delivery:DelayedDelivery"


class BrokerRefused(Exception):
    """The broker can be reached, and the worker cannot work with it. The cause is its error."""


class DelayedDelivery(_CelerysDelayedDelivery):  # type: ignore[misc]  # see above
    """Makes RabbitMQ delay messages; asks again until it could be done.

    Celery's own gives up for the life of the worker, also when a queue that others consume is not there yet: here the
    queues are declared first.
    """

    def start(self, c: Any) -> None:
        """Set it up, or else later: the worker goes on. Raises ``ValueError`` for settings that name no way to."""
        self._validate_configuration(c.app)
        self._again: Any = None
        self._set_up(c, SECONDS_BETWEEN_TRIES)

    def stop(self, c: Any) -> None:
        """Cancel the next try: the connection is gone, and ``start`` is called again with the next one."""
        again, self._again = getattr(self, "_again", None), None
        if again is not None:
            c.timer.cancel(again)

    def _set_up(self, c: Any, wait: float) -> None:
        self._again = None
        urls = self._validate_broker_urls(c.app.conf.broker_url)
        failures = [failure for url in urls if (failure := self._try(c.app, url)) is not None]
        if len(failures) == len(urls):
            logger.warning("RabbitMQ does not delay messages yet (%r): next try in %.0f s", failures[0], wait)
            self._again = c.timer.call_after(wait, self._set_up, (c, min(2 * wait, LONGEST_WAIT)))
        else:
            logger.info("RabbitMQ delays messages")

    def _try(self, app: Any, url: str) -> Exception | None:
        """Return what failed; None: it is done."""
        try:
            with app.connection_for_write(url=url) as connection:
                _make_it_delay(connection, app)
        except Exception as error:  # noqa: BLE001  whatever it was, the next try may work
            return error
        return None


class Consumer(_CelerysConsumer):  # type: ignore[misc]  # see above
    """Celery's consumer of messages; whatever the broker does, it connects again until all is well."""

    class Blueprint(_CelerysConsumer.Blueprint):  # type: ignore[misc]  # see above
        """What the consumer is made of."""

        default_steps = [
            f"{__name__}:DelayedDelivery" if step == _CELERYS else step
            for step in _CelerysConsumer.Blueprint.default_steps
        ]

        def start(self, parent: Any) -> None:
            """Connect and consume. Raises what Celery's consumer takes for a lost connection, and connects again."""
            try:
                super().start(parent)
            except (*parent.connection_errors, MemoryError):
                raise
            except Exception as error:
                unexpected = error if not isinstance(error, parent.channel_errors) else None
                logger.error("the worker was refused (%r), next try in 1 s", error, exc_info=unexpected)
                time.sleep(SECONDS_BETWEEN_TRIES)
                raise BrokerRefused(repr(error)) from error

    def __init__(self, *args: Any, app: Any, **kwargs: Any) -> None:
        _wait_longer(app.conf)  # before the first connection is made
        super().__init__(*args, app=app, **kwargs)
        self.connection_errors: tuple[type[Exception], ...] = (*self.connection_errors, BrokerRefused)

    def ensure_connected(self, conn: Connection) -> Any:
        """Connect, and return the connection. Tries each second, and ends or gives up as Celery's consumer does."""
        return super().ensure_connected(brokers.tried_each_second(conn))

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Close the connection. What kombu cannot close any more, it closes when it is collected."""
        try:
            super().on_connection_error_after_connected(exc)
        except Exception as error:  # noqa: BLE001  kombu gives messages back by a connection that is gone
            logger.warning("the lost connection could not be closed (%r): unacknowledged messages come again", error)


def _wait_longer(conf: Any) -> None:
    """Lengthen the time-outs that are set for callers, and leave alone what is longer already or not set.

    By both of their names: Celery before 5.7 prefers the one with a prefix, as Django's settings have it, to
    one that is set later without.
    """
    options = dict(conf.broker_transport_options or {})
    options |= {step: max(options[step], SECONDS_PER_STEP) for step in _STEPS if options.get(step)}
    longer: dict[str, Any] = {"broker_transport_options": options}
    if conf.broker_connection_timeout:
        longer["broker_connection_timeout"] = max(conf.broker_connection_timeout, SECONDS_PER_STEP)
    conf.update(longer)
    if conf.prefix:
        conf.update({f"{conf.prefix}{name}".upper(): value for name, value in longer.items()})


def _make_it_delay(connection: Connection, app: Any) -> None:
    delays.declare_native_delayed_delivery_exchanges_and_queues(
        connection, app.conf.broker_native_delayed_delivery_queue_type
    )
    for queue in app.amqp.queues.values():
        if not isinstance(queue, Broadcast):
            queue(connection.default_channel).declare()
            delays.bind_queue_to_native_delayed_delivery_exchange(connection, queue)
