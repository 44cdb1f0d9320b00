"""Settings of the apps: what was read is kept, and still follows Django's own way to change it for a test."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from durable_objects.conf import AppSettings, engine


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
        with pytest.raises(ImproperlyConfigured, match=r"'PAUSE'.* is a bool; expected a int"):
            _ = AppSettings("NOBODY_SETS_THIS", {"PAUSE": 5, "LOUD": False}).PAUSE
        assert AppSettings("NOBODY_SETS_THIS", {"PAUSE": True, "LOUD": False}).LOUD is True


def test_no_setting_is_made_up() -> None:
    """A name without a default is no attribute, and a project that sets nothing gets the defaults."""
    unset = AppSettings("NOBODY_SETS_THIS", {"PAUSE": 5})
    assert unset.PAUSE == 5
    with pytest.raises(AttributeError, match="PAUSES"):
        _ = unset.PAUSES
