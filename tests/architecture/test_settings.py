"""Settings of the apps: what was read is kept, and still follows Django's own way to change it for a test."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from batcher.conf import defaults as batcher
from cleaner.conf import defaults as cleaner
from durable_objects.conf import AppSettings, OneOf, Within, engine
from durable_objects.http.conf import http
from durable_objects.outgoing.concurrency import defaults as outgoing
from reminders.conf import defaults as reminders


def test_a_changed_setting_is_read_again_and_back() -> None:
    """Inside ``override_settings`` the new values hold, one by one and all together; afterwards the old ones."""

    def lease() -> timedelta:
        value: timedelta = engine.LEASE
        return value

    before, all_before = lease(), dict(engine.values())
    with override_settings(DURABLE_OBJECTS={"LEASE": timedelta(seconds=7)}):
        assert lease() == timedelta(seconds=7)
        assert engine.values() == all_before | {"LEASE": timedelta(seconds=7)}
    assert lease() == before
    assert engine.values() == all_before


def test_a_wrong_setting_is_refused_at_each_use() -> None:
    """Not only when it is read first: nothing goes on by defaults that nobody asked for."""
    with override_settings(DURABLE_OBJECTS={"LEESE": timedelta(1)}):
        for _ in range(2):
            with pytest.raises(ImproperlyConfigured, match="LEESE"):
                _ = engine.LEASE


def test_a_boolean_is_no_number() -> None:
    """Python takes True for 1: a setting that is a number does not."""
    with override_settings(NOBODY_SETS_THIS={"PAUSE": True, "LOUD": True}):
        with pytest.raises(ImproperlyConfigured, match=r"'PAUSE'.* is of type bool; expected int"):
            _ = AppSettings("NOBODY_SETS_THIS", {"PAUSE": 5, "LOUD": False}).PAUSE
        assert AppSettings("NOBODY_SETS_THIS", {"PAUSE": True, "LOUD": False}).LOUD is True


def test_no_setting_is_made_up() -> None:
    """A name without a default is no attribute, and a project that sets nothing gets the defaults."""
    unset = AppSettings("NOBODY_SETS_THIS", {"PAUSE": 5})
    assert unset.PAUSE == 5
    with pytest.raises(AttributeError, match="PAUSES"):
        _ = unset.PAUSES


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("LEASE", timedelta(0)),
        ("LEASE", timedelta.max),
        ("LOCK_TIMEOUT", timedelta(seconds=-5)),
        ("HORIZON", timedelta(seconds=-1)),
        ("HORIZON", timedelta.max),
        ("DISPATCH_EVERY", timedelta(0)),
        ("MAX_OUT", 0),
        ("HISTORY_PER_OBJECT", -1),
        ("HISTORY_FOR", timedelta.max),
        ("DISPATCHED_BY", "nobody"),
    ],
)
def test_a_value_out_of_bounds_is_refused_at_each_use(key: str, wrong: Any) -> None:
    """With the value and what is allowed: nothing runs by what would only show later, or never end."""
    with override_settings(DURABLE_OBJECTS={key: wrong}):
        for _ in range(2):
            with pytest.raises(ImproperlyConfigured, match=rf"DURABLE_OBJECTS\['{key}'\] is .*; allowed: ") as refused:
                getattr(engine, key)
            assert str(wrong) in str(refused.value)


def test_the_bounds_themselves_are_allowed() -> None:
    """The least and the most are values like any other, and so is each of a list."""
    known = AppSettings("NOBODY_SETS_THIS", {"PAUSE": Within(5, 1, 9), "HOW": OneOf(("well", "badly"))})
    for pause, how in ((1, "badly"), (9, "well")):
        with override_settings(NOBODY_SETS_THIS={"PAUSE": pause, "HOW": how}):
            assert known.values() == {"PAUSE": pause, "HOW": how}
    assert known.values() == {"PAUSE": 5, "HOW": "well"}


@pytest.mark.parametrize("app", [engine, batcher, cleaner, reminders, outgoing, http], ids=lambda app: app._name)
def test_every_number_and_span_has_bounds(app: AppSettings) -> None:
    """No setting of an app is without: a negative one or the longest span would be found out late."""
    ruled = {"WINDOW", "QUIET", "MAX_ITEMS", "MAX_BYTES", "MAX_QUEUED", "MAX_RETRIES", "GIVE_UP_AFTER"}  # batcher.E001
    wrong: dict[type, tuple[object, object]] = {int: (-1, 10**13), timedelta: (timedelta(-1), timedelta.max)}
    bounded = {key for key, value in app.values().items() if type(value) in wrong} - ruled
    for key in bounded:
        for value in wrong[type(app.values()[key])]:
            with override_settings(**{app._name: {key: value}}):
                assert "allowed: from" in str(app.flaw()), key


@pytest.mark.parametrize("nothing", [None, [], "LEASE"])
def test_what_is_no_dict_is_refused(nothing: Any) -> None:
    """None, as an environment variable may leave it, is reported as what it is."""
    with override_settings(DURABLE_OBJECTS=nothing), pytest.raises(ImproperlyConfigured, match="expected a dict"):
        _ = engine.LEASE
