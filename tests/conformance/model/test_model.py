"""Whatever is done to objects and their alarms, in whatever order, they do as a simple model in memory does.

``MODEL_EXAMPLES=2000 make test ARGS="-s -k test_model"`` runs as many random sequences, in batches from seeds that it
prints (``MODEL_SEED`` repeats one). With ``MODEL_SHRINK=1`` a failure is made smaller, which may take minutes.
"""

from __future__ import annotations

import logging
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from durable_objects import RunSuperseded
from durable_objects.testing import FakeClock, SimulatedCrash
from tests.conformance.model.lockstep import Lockstep
from tests.conformance.model.programs import START, Call, Program, calls, ends, hooks, pauses, plans, programs
from tests.conformance.model.steps import NAMES, Raised
from tests.conformance.scenes import LADDER
from tests.models import Script, Scripted

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "0"))
BATCH = 20

names = st.sampled_from(NAMES)
done: Counter[str] = Counter()


class Objects(RuleBasedStateMachine):
    """Two objects of one class: called, programmed, and left alone for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(START)
        self.clock.__enter__()
        self.both = Lockstep(self.clock)

    @rule(name=names, call=calls)
    def single(self, name: str, call: Call) -> None:
        """One storage call from outside."""
        self._do(lambda: self.both.single(name, call))

    @rule(name=names, program=programs())
    def turn(self, name: str, program: Program) -> None:
        """A call of a method."""
        self._do(lambda: self.both.turn(name, program))

    @rule(programs=st.lists(st.tuples(names, programs()), max_size=3), how=ends)
    def in_atomic(self, programs: list[tuple[str, Program]], how: str) -> None:
        """Calls in a transaction of the caller's."""
        self._do(lambda: self.both.in_atomic(programs, how))

    @rule(name=names, plans=plans, pauses=st.lists(pauses, max_size=2))
    def publish(self, name: str, plans: list[Program], pauses: list[timedelta]) -> None:
        """What the next runs of the alarm do; it is set for now, and runs, and again after a while."""
        self.both.plans[name] = list(plans)
        self._do(lambda: self.both.single(name, Call("set_alarm", (timedelta(0),))))
        self._wait([timedelta(0), *pauses])

    @rule(name=names, program=hooks)
    def initialize(self, name: str, program: Program) -> None:
        """What ``initialize()`` does from now on."""
        self.both.initialize[name] = program

    @rule(name=names, program=hooks)
    def on_death(self, name: str, program: Program) -> None:
        """What ``alarm_died()`` does from now on."""
        self.both.on_death[name] = program

    @rule(name=names)
    def destroy(self, name: str) -> None:
        """The object is deleted."""
        self._do(lambda: self.both.destroy(name))

    @rule(pauses=st.lists(pauses, min_size=1, max_size=2) | st.just(LADDER))
    def pass_time(self, pauses: list[timedelta]) -> None:
        """Time passes, and a worker runs what is due each time."""
        self._wait(pauses)

    def teardown(self) -> None:
        done.update(sequences=1, steps=self.both.steps)
        done.update(self.both.model.met)
        self.both.sessions.close()
        self.clock.__exit__()
        Scripted.script = Script()
        Scripted.objects.all().delete()

    def _wait(self, pauses: list[timedelta]) -> None:
        for pause in pauses:
            self.clock.advance(pause)
            self._do(self.both.run_due)

    def _do(self, step: Callable[[], None]) -> None:
        self.both.steps += 1
        with suppress(Raised, SimulatedCrash, RunSuperseded):
            step()
        self.both.check()


@pytest.fixture
def _silent() -> Iterator[None]:
    """Thousands of runs fail on purpose."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("_silent")
@pytest.mark.django_db(transaction=True)
def test_objects_do_as_the_model_does() -> None:
    """Each call of storage and alarm answers as the model's, and what is committed is always the same."""
    chosen = settings(
        max_examples=BATCH if EXAMPLES else 5,
        stateful_step_count=30 if EXAMPLES else 10,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if "MODEL_SHRINK" in os.environ else [Phase.generate],
    )
    first = int(os.environ.get("MODEL_SEED", random.randrange(10**6)))
    for number in range(first, first + EXAMPLES, BATCH):
        sys.stdout.write(f"MODEL_SEED={number}, before it {dict(done)}\n")
        sys.stdout.flush()
        run_state_machine_as_test(seed(number)(Objects), settings=chosen)
    if not EXAMPLES:
        run_state_machine_as_test(Objects, settings=chosen)
    sys.stdout.write(f"{dict(done)}\n")
