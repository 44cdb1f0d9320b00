"""Operations on cleaners: everything that matches is stopped, or started again."""

from __future__ import annotations

import pytest

from cleaner.models import PeriodicCleaner
from durable_objects.errors import InvalidInput
from durable_objects.testing import FakeClock
from tests.support.operations import do_to_all, figures

pytestmark = pytest.mark.django_db(transaction=True)


def test_stops_and_starts(alarm_clock: FakeClock) -> None:
    """Those that clean are stopped, each once; only those that are stopped are started again."""
    for name in ("a", "b", "c"):
        PeriodicCleaner.objects.get_by_name(name).save()
    PeriodicCleaner.objects.get_by_name("c").stop()
    assert figures(do_to_all("stop_cleaners", "")) == ("done", 2, 2, 0, 0)
    assert PeriodicCleaner.objects.get_by_name("a").storage.get_alarm() is None
    assert figures(do_to_all("start_cleaners", "class:cleaner.PeriodicCleaner name:a")) == ("done", 1, 1, 0, 0)
    assert PeriodicCleaner.objects.get_by_name("a").storage.get_alarm() is not None
    assert PeriodicCleaner.objects.get_by_name("c").storage.get_alarm() is None
    assert figures(do_to_all("start_cleaners", "name:a")) == ("done", 0, 0, 0, 0)


def test_a_stop_takes_a_reason(settings: object) -> None:
    """Where a reason is required, stopping takes one, and starting does not."""
    settings.DURABLE_OBJECTS = {"REQUIRE_REASON": True}  # type: ignore[attr-defined]  # pytest-django's
    with pytest.raises(InvalidInput, match="REQUIRE_REASON"):
        do_to_all("stop_cleaners", "")
    assert do_to_all("start_cleaners", "").state == "done"
