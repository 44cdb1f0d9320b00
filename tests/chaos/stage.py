"""What the tests here do with a site: dispatch, feed, set alarms, wait until all has run."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import Any, Protocol

from tests.support.site_processes import Process, Site

#: How often each kind of kill is done: CHAOS_KILLS=50 for figures that mean something.
KILLS = int(os.environ.get("CHAOS_KILLS", "5"))

_ARM = """
import json
from datetime import timedelta
from django.utils import timezone
from durable_objects import now
from tests import models
began = now()
for name, seconds, plan in json.loads({orders!r}):
    getattr(models, {kind!r}).objects.get_by_name(name).wake_at(began + timedelta(seconds=seconds), **plan)
print(began.isoformat())
"""


class Broker(Protocol):
    """What the tests here do with a broker."""

    url: str

    def empty(self) -> None:
        """Take every message away."""


def dispatcher(site: Site, **environment: str) -> Process:
    """A process that dispatches and has the given environment beside the site's."""
    return site.start("dispatcher", "manage.py", "alarms", "dispatch", "--loop", "--json", **environment)


def arm(site: Site, orders: list[tuple[str, float, dict[str, Any]]], kind: str = "Witness") -> datetime:
    """Set alarms from a process of its own: ``(name, seconds from its start, plan)``; answers that start."""
    code = _ARM.format(orders=json.dumps(orders), kind=kind)
    return datetime.fromisoformat(site.execute(code, seconds=120).strip())


def feeder(site: Site, **plan: Any) -> Process:
    """A ``tests.chaos.feeder``, at work."""
    process = site.start("feeder", "-m", "tests.chaos.feeder", json.dumps(plan))
    process.ready(30)
    return process


def accepted(site: Site, what: str = "item") -> dict[str, float]:
    """What the feeder was told is accepted, and when it asked."""
    lines = (site.folder / "feeder.out").read_text("utf-8").split("\n")[:-1]
    return {line[what]: line["at"] for line in map(json.loads, lines) if what in line}


def database_now(site: Site) -> datetime:
    """The database's clock."""
    now: datetime = site.rows("SELECT clock_timestamp()")[0][0]
    return now


def wait_for_clock(site: Site, at: datetime) -> None:
    """Wait until the database's clock says so."""
    left = (at - database_now(site)).total_seconds()
    site.wait_for(f"{at} by the database", lambda: database_now(site), seconds=left + 5, until=lambda now: now >= at)


def wait_until_idle(site: Site, seconds: float) -> None:
    """Wait until no alarm is set any more."""
    left = "SELECT count(*) FROM durable_objects_alarm WHERE state = 'armed'"
    site.wait_for_rows(left, seconds=seconds, until=lambda rows: rows[0][0] == 0)
