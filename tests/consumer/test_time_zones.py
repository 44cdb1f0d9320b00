"""Moments are moments, whatever the project, its databases or their sessions say of time zones and of dates' form."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

import pytest

from tests.consumer.foreign import Foreign

pytestmark = pytest.mark.slow

BERLIN, NEW_YORK, TOKYO = "Europe/Berlin", "America/New_York", "Asia/Tokyo"

#: Sets alarms and reads them back by every way that there is; answers what was not as it should be.
MOMENTS = """
from itertools import pairwise
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.db.models import Max
import durable_objects
from durable_objects.delivery import dispatcher
from durable_objects.models import Alarm, AlarmRun
from durable_objects.testing import run_due_alarms

wrong = []
def expect(what, found, wanted, within=timedelta(0)):
    try:
        if abs(found - wanted) > within or found.utcoffset() != timedelta(0):
            wrong.append(f"{what}: {found!r}, not {wanted!r}")
    except Exception as error:
        wrong.append(f"{what}: {found!r}, not {wanted!r} ({error!r})")

def real():
    return datetime.now(UTC)

SOON, HALF = timedelta(seconds=20), timedelta(minutes=30)
expect("now()", durable_objects.now(), real(), SOON)
moments = {
    "half": real().replace(microsecond=123456) + HALF,
    "whole second": real().replace(microsecond=0) + HALF,
    "fold 1": datetime(2030, 10, 27, 0, 30, tzinfo=UTC),   # half past two in Berlin, twice
    "fold 2": datetime(2030, 10, 27, 1, 30, tzinfo=UTC),
    "fold 3": datetime(2030, 11, 3, 5, 30, tzinfo=UTC),    # half past one in New York, twice
    "fold 4": datetime(2030, 11, 3, 6, 30, tzinfo=UTC),
    "end": datetime.max.replace(tzinfo=UTC),
    "near the end": datetime(9999, 12, 31, 10, 30, tzinfo=UTC),
}
for name, at in moments.items():
    Timer.objects.get_by_name(name).storage.set_alarm(at)
Timer.objects.get_by_name("span").storage.set_alarm(HALF)
connection.close()
for name, at in moments.items():
    expect(f"get_alarm of {name}", Timer.objects.get_by_name(name).storage.get_alarm(), at)
    slot = Alarm.objects.get(object__name=name)
    expect(f"the row's due_at of {name}", slot.due_at, at)
    expect(f"by values() of {name}", Alarm.objects.values_list("due_at", flat=True).get(object__name=name), at)
    slot.refresh_from_db()
    expect(f"scheduled_at of {name} read again", slot.scheduled_at, at)
    if Alarm.objects.filter(due_at=at, object__name=name).count() != 1:
        wrong.append(f"{name} is not found by its time")
    found = Alarm.objects.filter(object__name=name, due_at__range=(at - HALF, at)).aggregate(last=Max("due_at"))
    expect(f"Max of {name}", found["last"], at)
    found = Alarm.objects.filter(object__name=name)[:1].aggregate(last=Max("due_at"))
    expect(f"Max of a slice, of {name}", found["last"], at)
ordered = list(Alarm.objects.order_by("due_at").values_list("due_at", flat=True).distinct())
if any(a > b for a, b in pairwise(ordered)):
    wrong.append(f"not in order: {ordered}")
expect("a span", Timer.objects.get_by_name("span").storage.get_alarm(), real() + HALF, SOON)
passed = dispatcher.run_pass()
if passed.published or Alarm.objects.exclude(wake_up_for=None).exists():
    wrong.append(f"rung for early: {passed}")

past = real() - HALF
Timer.objects.get_by_name("past").storage.set_alarm(past)
[run] = run_due_alarms()
for name in ("scheduled_at", "due_at", "started_at", "ended_at", "picked_up_at"):
    expect(f"{name} of the run", getattr(AlarmRun.objects.get(pk=run.pk), name), real(), SOON)
told = Timer.objects.get_by_name("past").storage.get("ran")
expect("scheduled_at of the info", told["scheduled_at"], real(), SOON)
if not timedelta(0) <= told["lateness"] < SOON:
    wrong.append(f"late by {told['lateness']}")

commands = [["alarms", "list"], ["alarms", "list", "--json"]]
for name in ["half", "end", "past"]:
    commands += [["alarms", "explain", "shop.timer", name], ["objects", "show", "shop.timer", name]]
for command in commands:
    try:
        call_command(*command)
    except Exception as error:
        wrong.append(f"{command}: {error!r}")
"""

#: Behind it: the pages of admin.
PAGES = """
User.objects.create_superuser("admin", "a@example.com", "admin")
client = Client()
client.login(username="admin", password="admin")
pages = ["shop/timer/", "durable_objects/alarm/", "durable_objects/alarmrun/", "durable_objects/object/"]
pages += ["durable_objects/alarmrun/%s/change/" % run.pk]
for row in Timer.objects.filter(name__in=["half", "end", "past"]):
    pages += [f"shop/timer/{row.pk}/change/"]
for page in pages:
    try:
        answered = client.get(f"/admin/{page}", follow=True)
        if answered.status_code != 200 or not answered.request["PATH_INFO"].endswith(page):
            wrong.append(f"{page}: {answered.status_code} at {answered.request['PATH_INFO']}")
    except Exception as error:
        wrong.append(f"{page}: {error!r}")
"""

ANSWER = "\nanswer(wrong)"

#: What a role, a database, a connection or the environment may say of the form in which PostgreSQL speaks.
SESSIONS = {
    "zone": "-c timezone=Asia/Tokyo",
    "zone to the west": "-c timezone=America/New_York",
    "SQL": "-c datestyle=SQL,DMY -c timezone=Europe/Berlin",
    "Postgres": "-c datestyle=Postgres,MDY",
    "German": "-c datestyle=German",
    "others": "-c intervalstyle=iso_8601 -c bytea_output=escape -c extra_float_digits=-5"
    " -c standard_conforming_strings=off -c backslash_quote=off",
}


def of_database(project: Foreign, **said: Any) -> Foreign:
    """The project with this said of its database."""
    databases = project.databases
    databases["default"] |= said
    return project.set(DATABASES=databases)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{"USE_TZ": False, "TIME_ZONE": BERLIN}, {"USE_TZ": True, "TIME_ZONE": TOKYO}],
    ids=["without USE_TZ", "with USE_TZ"],
)
def test_moments_whatever_the_settings(on_each: Callable[..., Foreign], settings: dict[str, Any]) -> None:
    """With and without USE_TZ, in zones on either side of UTC, alarms keep their moment, the last of 9999 too."""
    assert on_each(**settings).run(MOMENTS + PAGES + ANSWER) == []


@pytest.mark.slow
@pytest.mark.parametrize("use_tz", [True, False])
@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, TOKYO])
def test_moments_whatever_the_databases_zone(on_each: Callable[..., Foreign], use_tz: bool, zone: str) -> None:
    """``TIME_ZONE`` of an entry of DATABASES changes nothing, where Django allows it."""
    project = on_each(USE_TZ=use_tz, TIME_ZONE=zone)
    if use_tz:
        of_database(project, TIME_ZONE=zone)
    assert project.run(MOMENTS + PAGES + ANSWER) == []


@pytest.mark.slow
@pytest.mark.services("postgresql")
@pytest.mark.parametrize(
    ("said", "use_tz"), list(zip(SESSIONS.values(), cycle([True, False]), strict=False)), ids=SESSIONS
)
def test_moments_whatever_the_session(postgresql: Callable[..., Foreign], said: str, use_tz: bool) -> None:
    """TimeZone, DateStyle and the other settings of a session change nothing of what the engine reads and writes.

    Django sets the zone itself, unless its own settings ask for the one that the session has.
    """
    project = postgresql(USE_TZ=use_tz, TIME_ZONE=TOKYO)
    of_database(project, OPTIONS={"options": said})
    words = """
cart = Cart.objects.get_by_name("back\\\\slash ' \\" $1 %s")
cart.add("tea\\\\' or 1=1")
connection.close()
if cart.storage.list() != {"tea\\\\' or 1=1": 1}:
    wrong.append(cart.storage.list())
"""
    assert project.run(MOMENTS + words + ANSWER) == []


@pytest.mark.slow
@pytest.mark.services("postgresql")
def test_moments_whatever_the_environment(postgresql: Callable[..., Foreign]) -> None:
    """PGTZ and PGDATESTYLE, which libpq takes from the environment, change nothing."""
    project = postgresql(USE_TZ=False, TIME_ZONE=BERLIN)
    assert project.run(MOMENTS + ANSWER, PGTZ=NEW_YORK, PGDATESTYLE="SQL, DMY") == []


@pytest.mark.slow
@pytest.mark.services("postgresql")
def test_moments_whatever_is_set_meanwhile(postgresql: Callable[..., Foreign]) -> None:
    """A ``SET`` of the user's own, which lasts as long as the connection, changes nothing either."""
    project = postgresql()
    meanwhile = """
from django.db.backends.signals import connection_created
def change(connection, **kwargs):
    connection.cursor().execute("SET timezone TO 'Asia/Tokyo'; SET datestyle TO 'German'")
connection_created.connect(change)
"""
    assert project.run(meanwhile + MOMENTS + ANSWER) == []
