"""What the processes of the random run have beside the project: points to die at, a bad post office, and a record.

The driver asks by files in CHAOS_HISTORY: ``kill-ROLE-POINT`` lets the next process of that role that reaches the point
die there; ``post`` says how messages travel. CHAOS_TAKEN_OUT names a guard to leave out (``guards``).
"""

from __future__ import annotations

import os
import random
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kombu import Producer

from durable_objects import failpoints
from durable_objects.alarms import leases
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.delivery import publisher
from durable_objects.tasks import KINDS
from tests.chaos.storm import guards, record

_publish = Producer.publish
_renew = leases.renew
#: Seconds that a slow post office takes.
SLOW_SECONDS = 3.0


def install() -> None:
    """Patch what there is to patch; called once, when all is loaded."""
    if record.FOLDER:
        setattr(failpoints, "reach", reach)
        setattr(leases, "renew", renew)
        setattr(Producer, "publish", publish)
    if os.environ.get("CHAOS_TOGETHER") or os.environ.get("CHAOS_MESSAGES"):
        publisher.TOGETHER_WITHIN, publisher.FEWEST_MESSAGES = timedelta(milliseconds=500), 1  # so that some share
    guards.take_out(os.environ.get("CHAOS_TAKEN_OUT", ""))


def reach(point: str) -> None:
    """Die here if the driver asked for it: whoever takes the file away first."""
    order = Path(record.FOLDER) / f"kill-{record.ROLE}-{point}"
    if order.exists():
        try:
            order.unlink()
        except FileNotFoundError:
            return  # another process was quicker
        record.note("killed", point=point)
        os.kill(os.getpid(), signal.SIGKILL)


def renew(conn: Any, object_id: int, fence: int) -> bool:
    """As the engine's; records until when the run has the lease of its object."""
    until = clock.now() + engine.LEASE
    renewed = _renew(conn, object_id, fence)
    if renewed:
        record.note("renewed", id=object_id, fence=fence, until=until.isoformat())
    return renewed


def publish(self: Producer, body: Any, *args: Any, **options: Any) -> Any:
    """As kombu's; what is no alarm's wake-up goes its usual way."""
    headers = options.get("headers") or {}
    wake_ups: list[dict[str, Any]] = []
    if headers.get("task") == "durable_objects.fire_alarm":
        wake_up = body[0]
        wake_ups = [{"id": wake_up[0], "wake_up_number": wake_up[1], "waits": wake_up[3] if len(wake_up) > 3 else 0}]
    elif headers.get("task") == "durable_objects.fire_alarms":
        shared = KINDS in headers
        wake_ups = [{"id": pair[0], "wake_up_number": pair[1], "waits": 0, "shared": shared} for pair in body[0][0]]
    if not wake_ups:
        return _publish(self, body, *args, **options)
    for each in wake_ups:
        record.note("sent", **each)
    way = _way()
    if way == "lost" and record.ROLE != "dispatcher":
        return None
    if way in ("delayed", "reordered"):
        asked = datetime.fromisoformat(headers["eta"]) if headers.get("eta") else datetime.now(UTC)
        late = SLOW_SECONDS * (1 if way == "delayed" else random.random())
        options["headers"] = headers | {"eta": (asked + timedelta(seconds=late)).isoformat()}
    for _ in range(way == "doubled"):
        _publish(self, body, *args, **options)
    answer = _publish(self, body, *args, **options)
    for each in wake_ups:
        record.note("taken", **each)
    return answer


def _way() -> str:
    try:
        return (Path(record.FOLDER) / "post").read_text()
    except FileNotFoundError:
        return ""
