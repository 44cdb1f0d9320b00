"""What is stored as a moment is read as that moment: by a turn, by the ORM, in any zone and form of the session."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, models
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from durable_objects.database.fields import MomentField
from durable_objects.tables import Alarm
from durable_objects.testing import FakeClock
from tests.models import Script, Scripted
from tests.support.examples import examples

START = datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)
EDGES = [timedelta(0), timedelta(microseconds=1), timedelta(hours=1), timedelta(hours=14), timedelta(days=1)]
ZONES = ["UTC", "Asia/Tokyo", "Pacific/Kiritimati", "Pacific/Niue", "Europe/Dublin", "America/St_Johns"]
STYLES = ["ISO, MDY", "SQL, DMY", "German", "Postgres, MDY"]

near_the_ends = st.builds(
    lambda last, edge: LAST - edge if last else START + edge,
    st.booleans(),
    st.sampled_from(EDGES),
)
anywhere = st.datetimes(START.replace(tzinfo=None), LAST.replace(tzinfo=None), timezones=st.timezones())


@pytest.mark.django_db
@settings(deadline=None, max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=near_the_ends | anywhere, zone=st.sampled_from(ZONES), style=st.sampled_from(STYLES))
def test_moments_survive_any_session(script: Script, at: datetime, zone: str, style: str) -> None:
    """From the epoch to the last microsecond of 9999, wherever the session believes to be."""
    try:
        moment = at.astimezone(UTC)
    except OverflowError:
        assume(False)
    assume(moment >= START)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('timezone', %s, true), set_config('datestyle', %s, true)", [zone, style])
    with FakeClock(START):
        obj = Scripted.objects.get_by_name("a")
        obj.storage.set_alarm(at)
        assert obj.storage.get_alarm() == moment
        slot = Alarm.objects.get(object__name="a")
        assert (slot.due_at, Alarm.objects.aggregate(last=models.Max("due_at"))["last"]) == (moment, moment)
        assert slot.due_at is not None
        assert slot.due_at.tzinfo is UTC
        assert Alarm.objects.filter(pk__in=Alarm.objects.filter(due_at=at).values("pk")).exists()
        # Compared by the database, not as the text that is read.
        newest = Alarm.objects.order_by("-due_at").values("due_at")[:1]
        assert Alarm.objects.filter(due_at=models.Subquery(newest)).exists()


def test_migrations_see_a_plain_column() -> None:
    """To migrations the field is Django's own, so that a column need not be altered for it."""
    made = MomentField(null=True).deconstruct()
    assert made[1:] == ("django.db.models.DateTimeField", [], {"null": True})
