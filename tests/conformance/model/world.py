"""The model: objects as dicts in memory, with one alarm each, and the rules of the contract in plain words."""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.conformance.scenes import LEASE

RETRIES = 6


@dataclass
class ModelObject:
    """One object. ``version`` changes with each set and delete; ``owner`` is the run that unlocked last."""

    made: int = 0
    entries: dict[str, Any] = field(default_factory=dict)
    state: str = "idle"
    scheduled: datetime | None = None
    due: datetime | None = None
    retries: int = 0
    version: int = 0
    owner: int | None = None
    leased_until: datetime | None = None
    leased_version: int | None = None

    def arm(self, at: datetime | None) -> None:
        """Set the alarm, or with None take it away."""
        self.state = "idle" if at is None else "armed"
        self.scheduled = self.due = at
        self.retries = 0
        self.version += 1


@dataclass(eq=False)
class Frame:
    """A turn. With ``is_run`` it is a run of the alarm of this ``version``; ``base`` is what a failure goes back to."""

    token: int
    name: str
    made: int
    version: int
    is_run: bool = False
    alone: bool = True
    base: World | None = None
    initializing: bool = False
    relocking: bool = False
    started: bool = False
    dying: bool = False


@dataclass
class World:
    """All that is stored, what the runs in progress requested of their alarms, and how runs ended:
    (number, object, outcome).
    """

    objects: dict[str, ModelObject] = field(default_factory=dict)
    requested: dict[int, tuple[datetime | None, int]] = field(default_factory=dict)
    history: list[tuple[int, str, str]] = field(default_factory=list)

    def copy(self) -> World:
        """As it is now, to go back to."""
        return copy.deepcopy(self)

    def go_back(self, to: World) -> None:
        """Everything is as it was."""
        self.__dict__.update(to.copy().__dict__)


class Model:
    """The world, and what turns and runs do to it. ``now`` is the clock that both sides go by."""

    def __init__(self, names: Iterable[str], now: Callable[[], datetime]) -> None:
        self.world = World({name: ModelObject() for name in names})
        self.now = now
        self._numbers = itertools.count(1)
        #: What happened how often, so that a long run can say what it met.
        self.met: Counter[str] = Counter()

    def frame(self, name: str, *, is_run: bool = False) -> Frame:
        """A turn on this object begins."""
        obj = self.world.objects[name]
        return Frame(next(self._numbers), name, obj.made, obj.version, is_run)

    def runnable(self) -> list[str]:
        """The objects whose alarm is due and not running."""
        return [
            name
            for name, obj in self.world.objects.items()
            if obj.state == "armed" and obj.due is not None and obj.due <= self.now() and not self.is_leased(obj)
        ]

    def is_leased(self, obj: ModelObject) -> bool:
        """Whether a run that unlocked still keeps it."""
        return obj.leased_until is not None and obj.leased_until > self.now()

    def lease(self, frame: Frame) -> None:
        """The run unlocks, and nobody else may run this alarm for a while."""
        self.met["runs that unlocked"] += 1
        obj = self.world.objects[frame.name]
        obj.owner, obj.leased_until, obj.leased_version = frame.token, self.now() + LEASE, frame.version

    def begin_run(self, name: str) -> Frame:
        """A run starts; where one was left behind, it takes over first."""
        assert name in self.runnable(), f"{name} was run, but the model says it is not to run"
        frame = self.frame(name, is_run=True)
        self.met["runs"] += 1
        if self.world.objects[name].leased_until is not None:
            self.met["taken over"] += 1
            self.lease(frame)
        frame.base = self.world.copy()
        return frame

    def is_lost(self, frame: Frame) -> bool:
        """Whether the object was deleted, or the run taken over."""
        obj = self.world.objects[frame.name]
        return obj.made != frame.made or (frame.is_run and obj.owner != frame.token)

    def moved(self, frame: Frame) -> bool:
        """Whether ``initialize()`` put the run off: a request for now is no move."""
        at, _ = self.world.requested.pop(frame.token, (self.now(), 0))
        if at is not None and at <= self.now():
            return False
        obj = self.world.objects[frame.name]
        obj.leased_until = None
        obj.arm(at)
        self.met["put off by initialize()"] += 1
        return True

    def succeeded(self, frame: Frame) -> None:
        """The handler returned: its request stands unless others changed the alarm later; else the alarm is done."""
        obj = self.world.objects[frame.name]
        at, version = self.world.requested.pop(frame.token, (None, frame.version))
        obj.leased_until = None
        if version == obj.version:
            obj.arm(at)
        else:
            self.met["changed by others"] += 1
        self.record(frame, "succeeded")

    def failed(self, frame: Frame) -> None:
        """The handler raised: back to the last commit; counted, unless others changed the alarm."""
        assert frame.base is not None
        self.world.go_back(frame.base)
        obj = self.world.objects[frame.name]
        self.world.requested.pop(frame.token, None)
        obj.leased_until = None
        frame.is_run = False
        outcome = "failed"
        if obj.version == frame.version and obj.retries < RETRIES:
            obj.retries += 1
            obj.due = self.now() + timedelta(seconds=2**obj.retries)
        elif obj.version == frame.version:
            obj.state, obj.due, outcome, frame.dying = "dead", None, "dead", True
        self.record(frame, outcome)

    def record(self, frame: Frame, outcome: str) -> None:
        """One row of history, if the object is still that one."""
        self.met[outcome] += 1
        if self.world.objects[frame.name].made == frame.made:
            self.world.history.append((next(self._numbers), frame.name, outcome))

    def outcomes_since(self, number: int) -> list[tuple[str, str]]:
        """How runs ended since then."""
        return [(name, outcome) for at, name, outcome in self.world.history if at > number]

    def last_number(self) -> int:
        """A number before all that comes."""
        return next(self._numbers)

    def destroy(self, name: str) -> None:
        """The object is deleted, with its history."""
        self.world.objects[name] = ModelObject(made=self.world.objects[name].made + 1)
        self.world.history = [row for row in self.world.history if row[1] != name]


class ModelStorage:
    """What ``storage`` is on the other side: the same methods, on the model."""

    def __init__(self, model: Model, name: str, frame: Frame | None) -> None:
        self._model, self._frame = model, frame
        self._object = model.world.objects[name]

    def get(self, key: str, default: Any = None) -> Any:
        return copy.deepcopy(self._object.entries.get(key, default))

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        return {key: self.get(key) for key in sorted(set(keys)) if key in self._object.entries}

    def put(self, key: str, value: Any) -> None:
        self._object.entries[key] = copy.deepcopy(value)

    def put_many(self, values: Mapping[str, Any]) -> None:
        self._object.entries.update(copy.deepcopy(dict(values)))

    def delete(self, key: str) -> bool:
        return self.delete_many([key]) == 1

    def delete_many(self, keys: Iterable[str]) -> int:
        return sum(self._object.entries.pop(key, self) is not self for key in set(keys))

    def list(
        self,
        *,
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        prefix: str = "",
        reverse: bool = False,
        limit: int | None = None,
    ) -> dict[str, Any]:
        found = [key for key in sorted(self._object.entries, reverse=reverse) if key.startswith(prefix)]
        found = [key for key in found if start is None or key >= start]
        found = [key for key in found if start_after is None or key > start_after]
        found = [key for key in found if end is None or key < end]
        return {key: self.get(key) for key in found[:limit]}

    def delete_all(self, *, keep_alarm: bool = False) -> None:
        self._object.entries.clear()
        if not keep_alarm:
            self.delete_alarm()

    def set_alarm(self, when: datetime | timedelta) -> None:
        now = self._model.now()
        self._wish(max(now, now + when if isinstance(when, timedelta) else when))

    def delete_alarm(self) -> None:
        self._wish(None)

    def get_alarm(self) -> datetime | None:
        frame, obj = self._frame, self._object
        if frame is not None and frame.is_run:
            at, version = self._model.world.requested.get(frame.token, (None, -1))
            if version == obj.version:
                return at
            if frame.version == obj.version:
                return obj.scheduled if frame.initializing else None
        running = self._model.is_leased(obj) and obj.leased_version == obj.version
        return obj.scheduled if obj.state == "armed" and not running else None

    def _wish(self, at: datetime | None) -> None:
        if self._frame is not None and self._frame.is_run:
            self._model.world.requested[self._frame.token] = (at, self._object.version)
        else:
            self._object.arm(at)
