"""The steps of random programs, done on the engine and on the model at once: each answer is compared as it comes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import transaction

from durable_objects import CannotUnlock, RunSuperseded
from durable_objects.testing import FakeClock, SimulatedCrash
from tests.conformance.model.programs import (
    Advance,
    ArmIfNone,
    Block,
    Call,
    Destroy,
    Program,
    RunDue,
    Single,
    Turn,
    Unlocked,
)
from tests.conformance.model.sessions import Session, Sessions
from tests.conformance.model.world import Frame, Model, ModelStorage
from tests.models import Scripted

NAMES = ("a", "b")


class Raised(Exception):
    """A program ends by raising."""


class Steps(ABC):
    """Calls, turns and what is done in them, side by side."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.model = Model(NAMES, clock.now)
        self.sessions = Sessions()
        self.steps = 0
        self.trouble: AssertionError | None = None

    @property
    def session(self) -> Session:
        """The session that calls now."""
        return self.sessions.current

    @abstractmethod
    def run_due(self) -> None:
        """Run what is due."""

    @abstractmethod
    def destroy(self, name: str) -> None:
        """Delete the object."""

    def single(self, name: str, call: Call) -> None:
        """One storage call outside of any turn: a read is none, a write is one of its own."""
        if call.method in {"get", "get_many", "list", "get_alarm"}:
            self._call(name, call)
        else:
            self.turn(name, Program((call,)), partial(self._call, name, call))

    def turn(self, name: str, program: Program, body: Callable[[], None] | None = None) -> None:
        """The program as a turn of its own: what it raises is raised when both sides are back."""
        self._refuse_if_stale(name)
        frame = self.model.frame(name)
        frame.alone = not self.session.held and not self.session.blocks
        frame.base = self.model.world.copy()
        self.session.held[name] = frame
        try:
            if body is not None:
                body()
            else:
                again(name).run_exclusive(partial(self.program, name, program))
        except BaseException:
            if frame.base is not None:
                self.model.world.go_back(frame.base)
            raise
        finally:
            del self.session.held[name]

    # -- inside a turn

    def program(self, name: str, program: Program) -> None:
        """The steps of a program of this object, in a turn of it."""
        for step in program.steps:
            self.steps += 1
            try:
                self._step(name, step)
            except AssertionError as error:
                self.trouble = self.trouble or error
                raise
        end(program.end)

    def tell(self) -> None:
        """Raise what did not agree: in a handler the engine takes it for a failure of the run."""
        if self.trouble is not None:
            raise self.trouble

    def _step(self, name: str, step: Any) -> None:
        match step:
            case Call():
                self._call(name, step)
            case ArmIfNone(after):
                self._arm_if_none(name, after)
            case Block():
                self._block(name, step)
            case Unlocked():
                self._unlocked(name, step)

    def _call(self, name: str, call: Call) -> None:
        options = dict(call.options)
        answer = getattr(again(name).storage, call.method)(*call.arguments, **options)
        model = ModelStorage(self.model, name, self.session.held.get(name))  # as initialize() has left it
        expected = getattr(model, call.method)(*call.arguments, **options)
        assert answer == expected, call
        if isinstance(answer, dict):
            assert list(answer) == list(expected), call

    def _arm_if_none(self, name: str, after: timedelta) -> None:
        self._call(name, Call("get_alarm"))
        if again(name).storage.get_alarm() is None:
            self._call(name, Call("set_alarm", (after,)))

    def _block(self, name: str, block: Block) -> None:
        if block.kind in {"transaction", "atomic"}:
            base = self.model.world.copy()
            self.session.blocks += 1
            try:
                with again(name).storage.transaction() if block.kind == "transaction" else transaction.atomic():
                    self.program(name, block.program)
            except Raised:
                self.model.world.go_back(base)
            finally:
                self.session.blocks -= 1
            return
        other = name if block.kind == "joined" else _other(name)
        try:
            if other in self.session.held:
                again(other).run_exclusive(partial(self.program, other, block.program))
            else:
                self.turn(other, block.program)
        except Raised:
            pass

    def _unlocked(self, name: str, step: Unlocked) -> None:
        session, frame = self.session, self.session.held[name]
        if session.blocks or len(session.held) > 1 or not frame.alone or frame.initializing or frame.dying:
            if not frame.initializing and not frame.dying:
                with pytest.raises(CannotUnlock), again(name).unlocked():
                    raise AssertionError("let in")
            return
        try:
            with again(name).unlocked(), self._let_go(session, frame):
                for meanwhile in step.program.steps:
                    self._meanwhile(name, meanwhile)
                end(step.program.end)
        except RunSuperseded:
            self._check_refusal([frame, *session.loose.values()])
            raise
        assert not frame.relocking

    def _check_refusal(self, frames: list[Frame]) -> None:
        """A turn that lost its object is refused again, until it ends; a turn around it may see that, too."""
        stale = [frame.name for frame in frames if self.model.is_lost(frame)]
        self.model.met["refused"] += bool(stale)
        assert self.model.met["refused"], "refused, but nobody took over"
        if stale:
            with pytest.raises(RunSuperseded):
                again(stale[0]).storage.put("stale", 1)

    @contextmanager
    def _let_go(self, session: Session, frame: Frame) -> Iterator[None]:
        if frame.is_run:
            self.model.lease(frame)
        around, blocks = session.loose.get(frame.name), session.blocks
        del session.held[frame.name]
        session.loose[frame.name], frame.base, frame.relocking = frame, None, True
        try:
            yield
        finally:
            session.held[frame.name], session.blocks = frame, blocks
            del session.loose[frame.name]
            if around is not None:
                session.loose[frame.name] = around

    def _meanwhile(self, name: str, step: Any) -> None:
        self.steps += 1
        match step:
            case Single(beside, call):
                self._by(beside, partial(self.single, name, call))
            case Turn(beside, other, program):
                self._by(beside, partial(self.turn, _other(name) if other else name, program))
            case Advance(by):
                self.clock.advance(by)
            case RunDue():
                self._by(True, self.run_due)
            case Destroy(beside):
                self._by(beside, partial(self.destroy, name))

    def _by(self, beside: bool, call: Callable[[], None]) -> None:
        if not beside:
            call()
            return
        with suppress(Raised, RunSuperseded, SimulatedCrash):  # that session's affair
            self.sessions.beside(call)

    def _refuse_if_stale(self, name: str) -> None:
        """A run that lost its object is refused in the turns that it opens while unlocked."""
        loose = self.session.loose.get(name)
        if loose is not None and loose.is_run and self.model.is_lost(loose):
            again(name).storage.put("stale", 1)
            raise AssertionError("a stale run was let in")


def again(name: str) -> Scripted:
    """A fresh handle."""
    return Scripted.objects.get_by_name(name)


def _other(name: str) -> str:
    return NAMES[1 - NAMES.index(name)]


def end(how: str) -> None:
    if how == "raises":
        raise Raised
    if how == "dies":
        raise SimulatedCrash
