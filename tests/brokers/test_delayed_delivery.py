"""RabbitMQ delays messages, from a worker's first start on, and again once whatever was in the way is over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.brokers.conftest import set_reminders
from tests.support.own_brokers import control, own_rabbit
from tests.support.site_processes import Site

pytestmark = pytest.mark.services("postgresql", "rabbitmq")

FIRST = """
import logging, sys
from datetime import timedelta
from durable_objects import now
from reminders.models import Reminder
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(message)s", force=True)
Reminder.objects.get_by_name("first").set_reminder("here", now() + timedelta(seconds=5))
"""
RUN = "SELECT extract(epoch FROM started_at - due_at) FROM durable_objects_alarmrun WHERE outcome = 'succeeded'"


def test_a_fresh_virtual_host_needs_no_second_start(postgresql_url: str, tmp_path: Path) -> None:
    """The first worker takes one queue only: it declares the other as well, and nothing is critical."""
    with own_rabbit() as rabbit, Site(tmp_path, postgresql_url, rabbit.url) as site:
        worker = site.migrate().worker("first", "-Q", "alarms", pool="threads").says("RabbitMQ delays messages")
        set_reminders(site, "near", 1, after=3)
        site.wait_for_rows(RUN, seconds=30)
        assert "CRITICAL" not in worker.text()
        worker.kill()


def test_the_first_alarm_of_a_fresh_virtual_host_frightens_nobody(postgresql_url: str, tmp_path: Path) -> None:
    """Set before any worker has started, it is sent later: that is no warning, and says what is waited for."""
    with own_rabbit() as rabbit, Site(tmp_path, postgresql_url, rabbit.url) as site:
        logged = site.migrate().execute(FIRST)
        assert "INFO wake-up for object" in logged
        assert "(RabbitMQ delays none before a worker has started once): the dispatcher will" in logged
        assert "WARNING" not in logged
        assert "NotFound" not in logged


def test_delayed_delivery_comes_back_by_itself(postgresql_url: str, tmp_path: Path) -> None:
    """Refused at first, the worker takes messages and asks again until they are delayed."""
    with own_rabbit() as rabbit, Site(tmp_path, postgresql_url, rabbit.url) as site:
        site.migrate()
        control("set_permissions", "-p", rabbit.name, rabbit.user, "^(?!celery_delayed).*", ".*", ".*")
        worker = site.worker(pool="threads").says("RabbitMQ does not delay messages yet")
        control("set_permissions", "-p", rabbit.name, rabbit.user, ".*", ".*", ".*")
        worker.says("RabbitMQ delays messages")
        set_reminders(site, "near", 1, after=3)
        [(late,)] = site.wait_for_rows(RUN, seconds=30)
        assert 0 <= late < 5
        worker.kill()


def test_a_virtual_host_that_is_taken_away_ends_no_worker(postgresql_url: str, tmp_path: Path) -> None:
    """Its queues, its exchanges and the right to connect are gone for a while: the same worker goes on afterwards."""
    with own_rabbit() as rabbit, Site(tmp_path, postgresql_url, rabbit.url, engine={"DISPATCH_EVERY": 1}) as site:
        worker = site.migrate().worker(pool="threads").says("RabbitMQ delays messages")
        site.dispatcher()
        rabbit.remove()
        set_reminders(site, "meanwhile", 1, after=0)
        assert worker.exit_code() is None
        rabbit.make()
        site.wait_for_rows(RUN, seconds=60)
        assert worker.exit_code() is None
        worker.kill()
