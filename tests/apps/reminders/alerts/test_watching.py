"""Who looks at the rules, and who notices when nobody does: the heartbeat of a monitor outside."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest

from durable_objects import signals
from durable_objects.testing import FakeClock
from reminders.alerts import silences, watching
from reminders.checks import check_settings
from reminders.models import AlertRule, AlertWatch
from tests.apps.reminders.alerts.conftest import MINUTE, Fire
from tests.support.sent_messages import Sent
from tests.support.upstream import Upstream

pytestmark = pytest.mark.django_db


@pytest.fixture
def monitor(upstream: Upstream, settings: Any) -> Upstream:
    """A monitor that misses a heartbeat."""
    settings.REMINDERS = {"HEARTBEAT_URL": f"{upstream.url}?secret=c4n4ry"}
    return upstream


def looks(clock: FakeClock, number: int) -> None:
    """Look so many times, half a minute apart."""
    for _ in range(number):
        watching.look_and_send()
        clock.advance(MINUTE / 2)


def test_a_heartbeat_each_minute_while_no_rule_reports(
    rule: AlertRule, fire: Fire, alarm_clock: FakeClock, monitor: Upstream
) -> None:
    """None while one does, unless it is silenced; and none from a process whose turn it is not."""
    looks(alarm_clock, 4)
    assert len(monitor.received) == 2
    AlertRule.objects.update(hold_for=timedelta(0))
    fire.burn()
    looks(alarm_clock, 8)
    assert len(monitor.received) == 2
    rule.refresh_from_db()
    silences.silence(rule, timedelta(hours=1), by="ann", reason="")
    looks(alarm_clock, 2)
    assert len(monitor.received) == 3


def test_no_heartbeat_where_nobody_could_look(
    rule: AlertRule, fire: Fire, alarm_clock: FakeClock, monitor: Upstream
) -> None:
    """A rule that could not be judged does not count as well."""
    fire.error = ZeroDivisionError("by zero")
    looks(alarm_clock, 4)
    assert monitor.received == []


def test_a_monitor_that_refuses_ends_nothing_and_its_address_is_in_no_log(
    rule: AlertRule, alarm_clock: FakeClock, settings: Any, caplog: Any
) -> None:
    """The next look tries again."""
    caplog.set_level(logging.INFO)
    settings.REMINDERS = {"HEARTBEAT_URL": "http://127.0.0.1:9/c4n4ry"}
    looks(alarm_clock, 3)
    assert "the heartbeat was not delivered" in caplog.text
    assert "c4n4ry" not in caplog.text


def test_a_heartbeat_url_that_is_none_is_refused_without_being_shown(settings: Any) -> None:
    """``check`` names the setting alone."""
    settings.REMINDERS = {"HEARTBEAT_URL": "ftp://c4n4ry"}
    (error,) = check_settings(None)
    assert (error.id, "c4n4ry" in error.msg) == ("reminders.E008", False)


@pytest.mark.django_db(transaction=True)
def test_a_process_that_lives_looks_and_sends(rule: AlertRule, fire: Fire, sent: Sent) -> None:
    """In a thread of its own, one at a time; it writes nothing where there is no rule."""
    AlertRule.objects.update(hold_for=timedelta(0))
    fire.burn()
    watcher = watching.Watcher()
    for _ in range(3):
        watcher.wake()
    watcher.wait(30)
    assert [message.alert and message.alert.event for message in sent] == ["opened"]
    AlertRule.objects.all().delete()
    AlertWatch.objects.all().delete()
    watcher = watching.Watcher()
    watcher.wake()
    watcher.wait(30)
    assert not AlertWatch.objects.exists()


def test_the_thread_of_a_processs_heartbeat_wakes_it() -> None:
    """The app listens to ``process_beat``."""
    receivers, _ = signals.process_beat._live_receivers(None)
    assert watching.watcher.wake in receivers
