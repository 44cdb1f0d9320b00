"""A beat that neither a broker nor a database can end.

In Django's settings, beside django-celery-beat::

CELERY_BEAT_SCHEDULER = "durable_objects.scheduler:DatabaseScheduler"
"""

from __future__ import annotations

from typing import Any

from django_celery_beat import schedulers

from durable_objects.delivery import brokers
from durable_objects.logs import get_logger

logger = get_logger(__name__)

SECONDS_BETWEEN_TRIES = 1.0


class DatabaseScheduler(schedulers.DatabaseScheduler):  # type: ignore[misc]  # it ships no types
    """django-celery-beat's own, which ends when a broker refuses it or a database is away, and this one does not."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due; seconds until the next look. What fails is logged and tried again after a second."""
        try:
            return float(super().tick(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  whatever it was, the next try may work
            self._heap = None  # what was taken out of it is not put back
            logger.error("beat's entries could not be sent (%r), next try in 1 s", error)
            return SECONDS_BETWEEN_TRIES

    def _ensure_connected(self) -> Any:
        brokers.tried_each_second(self.connection)
        return super()._ensure_connected()
