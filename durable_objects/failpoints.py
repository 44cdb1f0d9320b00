"""Named points at which a test may let the process die. In production each is one comparison."""

from __future__ import annotations

import os
import signal

#: The point that kills this process with SIGKILL when it is reached, for tests with real processes.
KILL_AT = os.environ.get("DURABLE_OBJECTS_KILL_AT", "")

#: The point that raises ``SimulatedCrash`` when it is reached, for tests inside one process.
raise_at = ""


class SimulatedCrash(BaseException):
    """The process died here, as far as the code under test can tell: only ``BaseException`` passes every handler."""


def reach(point: str) -> None:
    """Say that ``point`` is reached. Does nothing unless a test armed it.

    ``SimulatedCrash`` is raised for ``durable_objects.testing.crash_at(point)``; with the environment's
    ``DURABLE_OBJECTS_KILL_AT`` the process ends without any clean-up.
    """
    if point == raise_at:
        raise SimulatedCrash(point)
    if point == KILL_AT:
        os.kill(os.getpid(), signal.SIGKILL)
