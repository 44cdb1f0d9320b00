"""Pauses as rows: whose is lifted, and which of them still hold."""

from __future__ import annotations

from datetime import timedelta

import pytest

from durable_objects.alarms import pauses
from durable_objects.alarms.pauses import Target
from durable_objects.tables import Alarm
from durable_objects.testing import FakeClock
from tests.models import Script, Scripted
from tests.support.admin_pages import scripted

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


def put(target: Target, clock: FakeClock, until: timedelta | None = None) -> None:
    """Pause this from now on, for so long."""
    at = clock.now()
    pauses.put(target, at, reason="", by="ada", until=None if until is None else at + until)


def test_a_pause_made_since_is_not_lifted(clock: FakeClock) -> None:
    """Who ends a pause that stood at a moment leaves one that somebody has made after that."""
    target, before = Target(Scripted.kind_pk()), clock.now()
    put(target, clock)
    clock.advance(MINUTE)
    put(target, clock)
    assert not pauses.lift(target, clock.now(), stood_at=before)
    assert pauses.paused(clock.now()).is_any
    assert pauses.lift(target, clock.now(), stood_at=clock.now())
    assert not pauses.paused(clock.now()).is_any


def test_a_pause_that_has_ended_holds_no_alarm(script: Script, clock: FakeClock) -> None:
    """An object that was paused by itself for a while is free once that is over, though the row is still there."""
    one = scripted("one", MINUTE)
    put(Target(Scripted.kind_pk(), one.pk), clock, MINUTE)
    assert not Alarm.objects.filter(pauses.none_of_its_own(clock.now())).exists()
    clock.advance(MINUTE)
    assert Alarm.objects.filter(pauses.none_of_its_own(clock.now())).exists()
