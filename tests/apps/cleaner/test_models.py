"""Cleaning the rows of a Django model: only what the settings allow, as ``QuerySet.delete()`` does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.db.models.signals import post_delete
from django.test.utils import CaptureQueriesContext

from cleaner import chunking
from cleaner.checks import check_models
from cleaner.models import CleanerSettings, PeriodicCleaner
from durable_objects import InvalidInput
from durable_objects.tables import Object
from durable_objects.testing import FakeClock
from tests.support.passing_time import outcomes

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
ALLOWED = {"sessions.Session": "expire_date", "auth.User": ["date_joined", "last_login"]}


@pytest.fixture(autouse=True)
def _quick_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks are as large as they may be, however busy the machine is."""
    monkeypatch.setattr(chunking, "WANTED_SECONDS", 1_000.0)
    monkeypatch.setattr(chunking, "CUT_OFF_SECONDS", 60.0)


@pytest.fixture
def cleaner(settings: Any) -> PeriodicCleaner:
    """A cleaner that may clean sessions and users, five rows at a time."""
    settings.CLEANER = {"MODELS": ALLOWED, "CHUNK": 5}
    return PeriodicCleaner.objects.get_by_name("rows")


def sessions(clock: FakeClock) -> None:
    """Twelve sessions that expired two days ago, three that have not, with text as primary key."""
    for number in range(15):
        age = DAY * 2 if number % 5 else -DAY
        Session.objects.create(session_key=f"{number:02}", session_data="", expire_date=clock.now() - age)


def test_rows_that_are_too_old_are_deleted(cleaner: PeriodicCleaner, alarm_clock: FakeClock) -> None:
    """In chunks of the primary key's order, on the plan, own storage untouched; a dry run counts the same."""
    sessions(alarm_clock)
    cleaner.storage.put("own", {"timestamp": 0})
    cleaner.configure(model="sessions.session")
    assert cleaner.cleanup(dry_run=True) == 12
    assert outcomes(alarm_clock, timedelta(hours=1)) == ["succeeded"]
    assert list(Session.objects.values_list("pk", flat=True).order_by("pk")) == ["00", "05", "10"]
    report = cleaner.last_report()
    assert report is not None
    assert (report["target"], report["examined"], report["removed"]) == ("sessions.Session.expire_date", 15, 12)
    assert report["oldest_left"] == Session.objects.get(pk="00").expire_date
    assert list(cleaner.storage.list()) == ["own"]
    cleaner.configure(model="")
    assert cleaner.cleanup() == 1


def test_rows_on_which_nothing_hangs_are_not_read(cleaner: PeriodicCleaner, alarm_clock: FakeClock) -> None:
    """They go by one DELETE per chunk (of 5 and of 10); only keys at the edge of a chunk leave the database."""
    sessions(alarm_clock)
    cleaner.configure(model="sessions.Session")
    with CaptureQueriesContext(connection) as queries:
        cleaner.cleanup()
    statements = [query["sql"] for query in queries if "django_session" in query["sql"]]
    assert len([sql for sql in statements if sql.startswith("DELETE")]) == 2
    assert [sql for sql in statements if "session_data" in sql] == []


def test_cascades_and_signals_are_kept(cleaner: PeriodicCleaner, alarm_clock: FakeClock) -> None:
    """Where other rows hang on them, the rows are collected as Django does: those go too, and signals are sent."""
    gone: list[str] = []

    def note(sender: object, instance: User, **kwargs: Any) -> None:
        gone.append(instance.username)

    old, young = (
        User.objects.create(username=name, date_joined=alarm_clock.now() - age)
        for name, age in (("old", DAY * 2), ("young", timedelta(0)))
    )
    for user in (old, young):
        LogEntry.objects.create(user=user, action_flag=1, object_repr="x")
    cleaner.configure(model="auth.User", field="date_joined")
    post_delete.connect(note, sender=User)
    try:
        assert cleaner.cleanup() == 1
    finally:
        post_delete.disconnect(note, sender=User)
    assert gone == ["old"]
    assert [entry.user_id for entry in LogEntry.objects.all()] == [young.pk]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"model": "admin.LogEntry"}, "Allowed: the models of CLEANER.*sessions.Session, auth.User"),
        ({"model": "auth.User"}, "Allowed: for auth.User: date_joined, last_login"),
        ({"model": "sessions.Session", "field": "session_data"}, "Allowed: for sessions.Session: expire_date"),
        ({"field": "expire_date"}, 'model is ""'),
    ],
)
def test_what_is_not_allowed_is_refused(cleaner: PeriodicCleaner, wrong: dict[str, Any], message: str) -> None:
    """A model or a field that the settings do not name raises InvalidInput saying what they do, and changes nothing."""
    with pytest.raises(InvalidInput, match=message):
        cleaner.configure(interval=DAY, **wrong)
    assert not Object.objects.exists()


def test_a_model_that_is_allowed_no_more(cleaner: PeriodicCleaner, alarm_clock: FakeClock, settings: Any) -> None:
    """Nothing of it is deleted from then on; the record says why, and the plan goes on."""
    sessions(alarm_clock)
    cleaner.configure(model="sessions.Session")
    settings.CLEANER = {}
    seen = outcomes(alarm_clock, timedelta(hours=1))
    for seconds in (2, 4, 8, 16, 32, 64):
        seen += outcomes(alarm_clock, timedelta(seconds=seconds))
    assert seen[-1] == "dead"
    report = cleaner.last_report()
    assert report is not None
    assert "CLEANER['MODELS'] is empty" in report["error"]
    assert (Session.objects.count(), CleanerSettings.objects.get().model) == (15, "sessions.Session")
    assert cleaner.storage.get_alarm() == report["next_at"]


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"shop.Nothing": "at"}, "there is no such model"),
        ({"auth.User": "joined"}, "Its fields of time: last_login, date_joined"),
        ({"auth.User": "username"}, "is a CharField"),
        ({"durable_objects.Entry": "key"}, "only the engine deletes"),
        ({"cleaner.PeriodicCleaner": "name"}, "only the engine deletes"),
    ],
)
def test_the_settings_are_checked(settings: Any, models: dict[str, str], message: str) -> None:
    """``manage.py check`` finds what cannot be cleaned, and passes what can."""
    settings.CLEANER = {"MODELS": ALLOWED}
    assert check_models(None) == []
    settings.CLEANER = {"MODELS": ALLOWED | models}
    (found,) = check_models(None)
    assert (found.id, message in found.msg) == ("cleaner.E002", True), found.msg
