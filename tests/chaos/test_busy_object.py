"""The alarm of an object that is never idle."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

import pytest

from tests.chaos import stage, verdicts
from tests.support.own_brokers import OwnRedis
from tests.support.site_processes import Site

pytestmark = [pytest.mark.chaos, pytest.mark.services("postgresql")]

#: CHAOS_BUSY_SECONDS=180 for the longest wait in three minutes.
SECONDS = float(os.environ.get("CHAOS_BUSY_SECONDS") or "60")
#: docs/why/protocol.md: 3 s, LOCK_TIMEOUT and the longest call; the rest is what a busy machine takes.
BOUND = 20.0

_CALLER = """
import time
from durable_objects import ObjectBusy
from tests.models import Subject
busy, count = Subject.objects.get_by_name("busy"), 0
while True:
    try:
        busy.hold(f"{name} {{count}}", {seconds})
    except ObjectBusy:
        pass
    count += 1
"""


_ARM = """
from datetime import timedelta
from durable_objects import ObjectBusy
from tests.models import Subject
while True:
    try:
        Subject.objects.get_by_name("busy").storage.set_alarm(timedelta(0))
        break
    except ObjectBusy:
        pass
"""


@pytest.mark.parametrize("seconds", [1.2, 2.0])
def test_it_gets_its_turn(
    redis_broker: OwnRedis, site_on: Callable[..., Site], say: Callable[[str], None], seconds: float
) -> None:
    """Two callers have the object in turn without a break: its alarm runs within the stated bound, again and again."""
    site = site_on(redis_broker, DISPATCH_EVERY=1, HISTORY_PER_OBJECT=1000)
    stage.dispatcher(site)
    site.worker(pool="threads", concurrency=8)
    for name in ("one", "other"):
        code = f"import django; django.setup()\n{_CALLER.format(name=name, seconds=seconds)}"
        site.start(name, "-c", code)
    held = "SELECT 1 FROM durable_objects_entry WHERE key = 'log:000002'"
    site.wait_for_rows(held, seconds=20)
    began, waits = time.monotonic(), []
    while time.monotonic() - began < SECONDS:
        asked = time.monotonic()
        wanted = _runs(site) + 1
        site.execute(_ARM, seconds=60)
        set_after = time.monotonic() - asked
        site.wait_for("its alarm to run", partial(_runs, site), seconds=BOUND, until=wanted.__le__)
        waits.append(time.monotonic() - asked - set_after)
    say(f"held for {seconds} s in turn: {[round(wait, 1) for wait in waits]} s, {verdicts.percentiles(waits)}")
    assert max(waits) < BOUND
    verdicts.uncounted(site)


def _runs(site: Site) -> int:
    return int(site.rows("SELECT count(*) FROM durable_objects_alarmrun")[0][0])
