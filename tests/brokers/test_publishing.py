"""How long telling a broker may take: whatever state it is in, about a second."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from durable_objects import celery_settings
from tests.support.own_brokers import own_rabbit
from tests.support.tcp_proxy import TcpProxy

AT_MOST = 1.6


def publisher(url: str) -> Any:
    """A task of an app with the project's settings for this broker."""
    app = Celery("publisher", set_as_current=False)
    app.config_from_object(celery_settings(url), namespace="CELERY")

    @app.task(name="nothing", shared=False)
    def nothing() -> None:
        """Never run."""

    return nothing


def seconds_of_failing(task: Any) -> float:
    """How long it takes until publishing gives up."""
    began = time.monotonic()
    with pytest.raises(OperationalError):
        task.apply_async()
    return time.monotonic() - began


@pytest.mark.parametrize("url", ["redis://127.0.0.1:{}/0", "amqp://guest:guest@127.0.0.1:{}//"], ids=["redis", "amqp"])
class TestAway:
    """A broker that was never there."""

    def test_a_refusal_is_quick(self, url: str, closed_port: int) -> None:
        """Nobody listens: known at once, with one retry."""
        assert seconds_of_failing(publisher(url.format(closed_port))) < 0.5

    def test_a_black_hole_is_left(self, url: str, silent_port: int) -> None:
        """Somebody listens and never answers: given up within about a second."""
        assert seconds_of_failing(publisher(url.format(silent_port))) < AT_MOST


@pytest.mark.services("rabbitmq")
def test_a_frozen_rabbitmq_is_left(rabbitmq_url: str) -> None:
    """A confirmation that never comes is waited for briefly, on the old connection and a new one; then all is well."""
    with own_rabbit() as rabbit:
        where = urlsplit(rabbit.url)
        wire = TcpProxy(where.port or 5672)
        task = publisher(rabbit.url.replace(f":{where.port}", f":{wire.port}"))
        task.apply_async()
        wire.freeze()
        assert seconds_of_failing(task) < AT_MOST
        wire.thaw()
        task.apply_async()
        task.app.pool.force_close_all()
        wire.stop()
