"""How the delivery of wake-ups stands at one moment: what several explanations need, each read at most once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from durable_objects.alarms.queries import SetAside
from durable_objects.delivery import backlog, claims
from durable_objects.delivery import processes as dispatching
from durable_objects.delivery.processes import Failing
from durable_objects.operations import processes
from durable_objects.operations.processes import Workers
from durable_objects.tables import Dispatcher, Process


@dataclass(frozen=True)
class DeliveryState:
    """Who passes, who works, and what is out at ``now``. Each is a query or a few, made when it is first asked for.

    ``aside``: that, where it was asked for before.
    """

    now: datetime
    aside: SetAside | None = None

    @cached_property
    def beating(self) -> list[Process]:
        """The heartbeats of processes."""
        return processes.beating()

    @cached_property
    def passing(self) -> list[Dispatcher]:
        """The processes that make passes."""
        return dispatching.passing()

    @cached_property
    def workers(self) -> Workers:
        """How all workers stand together."""
        return processes.workers_among(self.beating, self.now)

    @cached_property
    def failing(self) -> Failing | None:
        """What keeps wake-ups from being dispatched."""
        return dispatching.failing(self.now, self.passing)

    @cached_property
    def advice(self) -> str:
        """What to do about what is failing; "" where nothing is."""
        return dispatching.advice(self.failing.code, self.now) if self.failing else ""

    @property
    def trouble(self) -> str | None:
        """What keeps wake-ups from being dispatched and what to do, in a sentence without a host's name."""
        return f"{self.failing.text}: {self.advice}." if self.failing else None

    @cached_property
    def backlog(self) -> backlog.Backlog:
        """Which wake-ups are out, and how many more may be sent."""
        return backlog.look(self.now, claims.sent(self.now).values("pk") if self.aside is None else self.aside.sent)
