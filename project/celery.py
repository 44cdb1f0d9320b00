"""The Celery app that workers, beat and the web server share."""

from __future__ import annotations

import os
from typing import Any, Self

from celery import Celery
from celery.app.amqp import AMQP
from celery.signals import celeryd_init
from kombu import Connection

from project.brokers import worker_settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")


class SteadyConnection(Connection):
    """A worker that lost its broker looks for it every second, not after 2, 4, 6 … 30 s: its alarms are due."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Self:
        """Connect as ``kombu.Connection`` does, with the same errors, but try every second."""
        steady = {"interval_start": 1, "interval_step": 0, "interval_max": 1}
        return super().ensure_connection(*args, **steady | kwargs)


class SteadyAMQP(AMQP):
    """Celery's view of the broker, with those connections."""

    Connection = SteadyConnection


app = Celery("project", amqp=SteadyAMQP)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@celeryd_init.connect
def _be_patient(conf: Any, **kwargs: Any) -> None:
    """Use the longer time-outs: this process is a worker."""
    conf.update(worker_settings(conf.broker_url))
