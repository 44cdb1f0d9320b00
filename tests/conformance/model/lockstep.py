"""The engine and the model, side by side: from outside, and where the engine calls the object."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction

from durable_objects import AlarmInfo, RunSuperseded
from durable_objects.models import Alarm
from durable_objects.testing import FakeClock, SimulatedCrash, run_due_alarms
from tests.conformance.model.programs import Call, Program
from tests.conformance.model.steps import NAMES, Raised, Steps, again, end
from tests.conformance.model.world import Frame
from tests.models import Script, Scripted


class Lockstep(Steps):
    """Two objects on both sides. ``plans`` is what the next runs do, ``initialize`` and ``on_death`` each one does."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.plans: dict[str, list[Program]] = {name: [] for name in NAMES}
        self.initialize: dict[str, Program] = {}
        self.on_death: dict[str, Program] = {}
        script = Scripted.script = Script()
        script.initialize, script.alarm, script.alarm_died = self._initialize, self._alarm, self._alarm_died

    def in_atomic(self, programs: list[tuple[str, Program]], how: str) -> None:
        """The programs as turns in one transaction of the caller's."""
        base = self.model.world.copy()
        self.session.blocks += 1
        try:
            with transaction.atomic():
                for name, program in programs:
                    self.turn(name, program)
                end(how)
        except BaseException:
            self.model.world.go_back(base)
            raise
        finally:
            self.session.blocks -= 1

    def run_due(self) -> None:
        """Run what is due; how each run ended is compared, and that none is left out."""
        number = self.model.last_number()
        try:
            rows = run_due_alarms(limit=60)
        finally:
            self.session.held.clear()
            self.tell()
        ended = [(row.object.name, str(row.outcome)) for row in rows]
        assert ended == self.model.outcomes_since(number)
        assert self.model.runnable() == []

    def destroy(self, name: str) -> None:
        """Delete the object, in a turn, unless it was never used."""

        def delete() -> None:
            again(name).delete()
            self.model.destroy(name)

        if Scripted.objects.filter(name=name).exists():
            self.turn(name, Program(), delete)
        else:
            assert again(name).delete() == (0, {})

    def check(self) -> None:
        """What is committed is the same on both sides."""
        rows = Alarm.objects.values_list("object__name", "state", "due_at", "retry_count")
        slots = {name: (state, due, retries) for name, state, due, retries in rows}
        for name, obj in self.model.world.objects.items():
            self._call(name, Call("list"))
            state, due, retries = slots.get(name, ("idle", None, 0))
            assert (state, due) == (obj.state, obj.due)
            assert retries == obj.retries or state != "armed"

    # -- what the engine calls

    def _initialize(self, obj: Scripted) -> None:
        name = obj.name
        frame = self.session.held.get(name)
        if frame is None or (frame.started and not frame.is_run and not frame.dying):
            self.session.held.clear()  # of the run before
            frame = self.session.held[name] = self.model.begin_run(name)
        if frame.relocking:
            frame.relocking, frame.base = False, self.model.world.copy()
        if frame.dying:
            frame.base = self.model.world.copy()
        first = frame.is_run and not frame.started
        frame.initializing = True
        try:
            self.program(name, self.initialize.get(name, Program()))
        except Raised:
            self._initialize_failed(frame, first=first)
            raise
        finally:
            frame.initializing = False
        if first and self.model.moved(frame):
            del self.session.held[name]

    def _initialize_failed(self, frame: Frame, *, first: bool) -> None:
        if first:
            frame.started = True
            self.model.failed(frame)
        elif frame.dying and frame.base is not None:
            self.model.world.go_back(frame.base)
            frame.dying = False

    def _alarm(self, obj: Scripted, info: AlarmInfo) -> None:
        name, frame = obj.name, self.session.held[obj.name]
        frame.started = True
        slot = self.model.world.objects[name]
        assert slot.due is not None
        assert (info.retry_count, info.scheduled_at) == (slot.retries, slot.scheduled)
        assert info.lateness == self.clock.now() - slot.due >= timedelta(0)
        program = self.plans[name].pop(0) if self.plans[name] else Program()
        try:
            self.program(name, program)
        except Raised:
            self.model.failed(frame)
            raise
        except RunSuperseded:
            if self.model.is_lost(frame):
                self.model.record(frame, "superseded")
                frame.is_run = False  # over: the next run of this name is one of its own
            else:
                self.model.failed(frame)  # it was meant for another object
            raise
        except SimulatedCrash:
            if frame.base is not None:
                self.model.world.go_back(frame.base)
            raise
        self.model.succeeded(frame)
        frame.is_run = False

    def _alarm_died(self, obj: Scripted, info: AlarmInfo, error: BaseException) -> None:
        frame = self.session.held[obj.name]
        try:
            self.program(obj.name, self.on_death.get(obj.name, Program()))
        except Raised:
            assert frame.base is not None
            self.model.world.go_back(frame.base)
            raise
        finally:
            frame.dying = False
