"""Traces of turns and runs: there where they are asked for, linked to what set the alarm, and nobody's trouble."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.test.utils import CaptureQueriesContext
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from durable_objects import Snooze, conf
from durable_objects.alarms.lateness import stages_of
from durable_objects.delivery import publisher
from durable_objects.execution.executor import fire
from durable_objects.execution.groups import fire_group
from durable_objects.tables import Alarm
from durable_objects.testing import FakeClock, run_due_alarms
from durable_objects.turns import combining
from tests.models import Counter, Grouped, Script, Scripted
from tests.support.combined_calls import locked
from tests.support.threads import InThread, await_that

pytestmark = pytest.mark.django_db(transaction=True)

NOW, SECOND, HOUR = timedelta(0), timedelta(seconds=1), timedelta(hours=1)


class Spans:
    """What was exported, oldest first."""

    def __init__(self, provider: TracerProvider) -> None:
        self._exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def take(self) -> list[ReadableSpan]:
        """Those since the last time."""
        spans = list(self._exporter.get_finished_spans())
        self._exporter.clear()
        return spans

    def names(self) -> list[str]:
        """Their names."""
        return [span.name for span in self.take()]


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    """Where the spans of this test go."""
    provider = TracerProvider()
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return provider


@pytest.fixture
def spans(provider: TracerProvider, settings: Any) -> Iterator[Spans]:
    """The spans of this test, in which tracing is on."""
    settings.DURABLE_OBJECTS = {**getattr(settings, "DURABLE_OBJECTS", {}), "TRACING": True}
    yield Spans(provider)
    assert not trace.get_current_span().get_span_context().is_valid, "each span that began has ended"


def fail(obj: Any, info: Any) -> None:
    """A handler that fails."""
    raise ValueError("boom")


def ids(span: ReadableSpan) -> tuple[int, int]:
    """The span's trace, and its own number there."""
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """The span's attributes, by the last part of their names."""
    return {name.removeprefix("durable_objects."): value for name, value in (span.attributes or {}).items()}


def test_off_it_makes_no_span_and_stores_nothing(
    clock: FakeClock, provider: TracerProvider, obj: Scripted, script: Script
) -> None:
    """Without the setting there are no spans, and no trace in the row, though the caller is in one."""
    spans = Spans(provider)
    with provider.get_tracer("tests").start_as_current_span("request"):
        obj.storage.set_alarm(NOW)
        run_due_alarms()
    assert spans.names() == ["request"]
    assert Alarm.objects.get().set_by_trace == ""


def test_turn_and_run(clock: FakeClock, spans: Spans, obj: Scripted, script: Script) -> None:
    """A call is a span; a run is one inside of that of its turn; each names the object."""
    obj.storage.set_alarm(NOW)
    [turn] = spans.take()
    assert (turn.name, attributes(turn)) == ("turn tests.Scripted", {"class": "tests.Scripted", "name": "a"})
    run_due_alarms()
    run, turn = spans.take()
    assert (run.name, turn.name) == ("alarm tests.Scripted", "turn tests.Scripted")
    assert run.parent is not None
    assert run.parent.span_id == ids(turn)[1]
    assert run.status.status_code is StatusCode.UNSET


def test_turn_is_part_of_the_callers_trace(spans: Spans, provider: TracerProvider, obj: Scripted) -> None:
    """What a turn begins is inside of it: what the method calls, and turns of other objects."""
    tracer = provider.get_tracer("tests")

    def call() -> None:
        with tracer.start_as_current_span("inside"):
            Counter.objects.get_by_name("b").add()

    with tracer.start_as_current_span("request"):
        obj.run_exclusive(call)
    found = {span.name: span for span in spans.take()}
    order = ["turn tests.Counter", "inside", "turn tests.Scripted", "request"]
    assert list(found) == order
    for inner, outer in pairwise(order):
        parent = found[inner].parent
        assert parent is not None
        assert parent.span_id == ids(found[outer])[1]


def test_run_is_linked_to_the_trace_that_set_the_alarm(
    clock: FakeClock, spans: Spans, provider: TracerProvider, obj: Scripted, script: Script
) -> None:
    """Hours later, and on each retry; a run is no part of that trace. Set again elsewhere, the link is another."""
    tracer, script.alarm = provider.get_tracer("tests"), fail
    with tracer.start_as_current_span("request") as request:
        obj.storage.set_alarm(HOUR)
    clock.advance(HOUR)
    run_due_alarms()
    clock.advance(2 * SECOND)
    run_due_alarms()
    found = spans.take()
    turn = next(span for span in found if span.name == "turn tests.Scripted")
    runs = [span for span in found if span.name == "alarm tests.Scripted"]
    assert len(runs) == 2
    for run in runs:
        [link] = run.links
        assert (link.context.trace_id, link.context.span_id) == ids(turn)
        assert link.context.trace_id == request.get_span_context().trace_id != ids(run)[0]
    obj.storage.set_alarm(NOW)
    run_due_alarms()
    [again] = [span for span in spans.take() if span.name == "alarm tests.Scripted"]
    assert again.links[0].context.trace_id != request.get_span_context().trace_id


def test_trace_of_a_combined_call_is_its_callers(spans: Spans, provider: TracerProvider, script: Script) -> None:
    """Of calls that share a turn, each belongs to its caller's trace, not to that of the thread that ran it."""
    traces: dict[str, str] = {}

    def set_alarm(name: str, obj: Scripted) -> None:
        obj.storage.set_alarm(HOUR if name == "first" else 2 * HOUR)

    def request(name: str) -> None:
        with provider.get_tracer("tests").start_as_current_span(name) as span:
            traces[name] = f"{span.get_span_context().trace_id:032x}"
            mine = Scripted.objects.get_by_name("a")
            mine.run_combined(lambda: set_alarm(name, mine))

    with locked(Scripted.objects.get_by_name("a")):
        threads = [InThread(lambda: request("first"))]
        await_that(lambda: bool(combining._lines))
        threads.append(InThread(lambda: request("second")))
        await_that(lambda: any(combining._lines.values()))
    for thread in threads:
        thread.result()
    assert Alarm.objects.get().set_by_trace.split("-")[1] == traces["second"]


def test_off_again_an_old_trace_is_forgotten(clock: FakeClock, spans: Spans, obj: Scripted, settings: Any) -> None:
    """An alarm that is set without tracing keeps no link of one that was set before."""
    obj.storage.set_alarm(HOUR)
    assert Alarm.objects.get().set_by_trace.startswith("00-")
    settings.DURABLE_OBJECTS = {}
    obj.storage.set_alarm(2 * HOUR)
    assert Alarm.objects.get().set_by_trace == ""


def test_lateness_by_stage(clock: FakeClock, spans: Spans, obj: Scripted, script: Script) -> None:
    """A run's span says how late it was in seconds, and who kept it; of a retry, how many runs had failed."""
    script.alarm = fail
    obj.storage.set_alarm(SECOND)
    clock.advance(3 * SECOND)
    due = Alarm.objects.get().due_at
    assert due is not None
    Alarm.objects.update(wake_up_for=due + SECOND)
    run_due_alarms()
    run = next(span for span in spans.take() if span.name == "alarm tests.Scripted")
    asked_for = due.astimezone(UTC).isoformat()
    assert attributes(run) == {
        "class": "tests.Scripted", "name": "a", "retry_count": 0, "schedule": "", "scheduled_at": asked_for,
        "lateness.total": 2.0, "lateness.dispatch": 1.0, "lateness.queue": pytest.approx(1.0, abs=0.5),
        "lateness.lock": pytest.approx(0.0, abs=0.5),
    }  # fmt: skip
    clock.advance(2 * SECOND)
    run_due_alarms()
    assert attributes(spans.take()[0])["retry_count"] == 1


@dataclass
class Moments:
    """Those of a run."""

    due_at: datetime
    wake_up_for: datetime | None
    picked_up_at: datetime
    started_at: datetime


@pytest.mark.parametrize(
    ("sent", "picked_up", "started", "stages"),
    [
        (None, 3, 4, (0, 3, 1)),
        (-5, 3, 4, (0, 3, 1)),
        (2, 3, 4, (2, 1, 1)),
        (2, 1, 4, (2, 0, 2)),
        (None, -1, 0, (0, 0, 0)),
    ],
)
def test_stages(sent: int | None, picked_up: int, started: int, stages: tuple[int, ...]) -> None:
    """What each stage took is never negative, and together they are the run's lateness."""
    due = datetime(2026, 5, 1, tzinfo=UTC)
    run = Moments(due, None if sent is None else due + sent * SECOND, due + picked_up * SECOND, due + started * SECOND)
    assert tuple(stages_of(run)) == tuple(each * SECOND for each in stages)
    assert sum(stages_of(run), NOW) == run.started_at - due


def test_failure_is_an_error_of_its_span(clock: FakeClock, spans: Spans, obj: Scripted, script: Script) -> None:
    """A run that fails has the exception in its span; its turn, which counts that, is well, and so is a snoozed run."""
    script.alarm = fail
    obj.storage.set_alarm(NOW)
    run_due_alarms()
    _, run, turn = spans.take()
    assert (run.status.status_code, turn.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert [(event.attributes or {})["exception.message"] for event in run.events] == ["boom"]

    def snooze(obj: Any, info: Any) -> None:
        raise Snooze(HOUR)

    script.alarm = snooze
    obj.storage.set_alarm(NOW)
    run_due_alarms()
    assert [span.status.status_code for span in spans.take()] == [StatusCode.UNSET] * 3


def test_call_that_raises_or_cannot_begin_ends_its_span(spans: Spans, obj: Scripted) -> None:
    """Whatever ends a turn, its span ends with it, as an error: also where the object could not be had."""

    def call() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError):
        obj.run_exclusive(call)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("durable_objects.turns.turn.Turn._open", lambda turn, whose, wanted: call())
        with pytest.raises(KeyError):
            obj.storage.put("k", 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("durable_objects.turns.turn.Turn._write_out", lambda turn, before_sending: call())
        with pytest.raises(KeyError):
            obj.storage.put("k", 1)
    assert [span.status.status_code for span in spans.take()] == [StatusCode.ERROR] * 3
    obj.storage.put("k", 1)
    assert [span.parent for span in spans.take()] == [None]


def test_unlocked_is_one_turn(spans: Spans, obj: Scripted) -> None:
    """A turn that unlocks goes on: one span, in which are the calls of others' objects that it made meanwhile."""

    def call() -> None:
        with obj.unlocked():
            Counter.objects.get_by_name("b").add()

    obj.run_exclusive(call)
    assert spans.names() == ["turn tests.Counter", "turn tests.Scripted"]


def test_group(published: list[publisher.WakeUp], spans: Spans, script: Script) -> None:
    """Each run of a group has its span."""
    Grouped.objects.set_alarms(dict.fromkeys("ab", NOW))
    spans.take()
    fire_group([(wake_up.object_id, wake_up.wake_up_number) for wake_up in published], HOUR)
    assert spans.names() == ["alarm tests.Grouped"] * 2


class Broken(SpanProcessor):
    """An exporter that is out of order."""

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        raise RuntimeError("no service for traces")

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("no service for traces")


def test_tracing_that_raises_is_nobodys_trouble(
    spans: Spans, provider: TracerProvider, obj: Scripted, script: Script
) -> None:
    """Calls and runs are what they are without it."""
    provider.add_span_processor(Broken())
    obj.storage.set_alarm(NOW)
    assert fire(obj.pk).verdict.value == "succeeded"


def test_costs_no_statement(spans: Spans, obj: Scripted) -> None:
    """The trace is stored with the alarm: a turn sends as many messages as without."""
    obj.storage.set_alarm(HOUR)
    connection = connections[DEFAULT_DB_ALIAS]
    counts = []
    for tracing in (True, False):
        with pytest.MonkeyPatch.context() as patch, CaptureQueriesContext(connection) as queries, transaction.atomic():
            patch.setattr(conf.engine, "TRACING", tracing)
            obj.storage.set_alarm(2 * HOUR + tracing * SECOND)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_without_the_package_the_setting_is_refused(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """``check`` says what to install, and so does each use; without the setting nothing is asked for."""
    monkeypatch.setattr(conf, "find_spec", lambda name: None)
    settings.DURABLE_OBJECTS = {"TRACING": True}
    [message] = [each for each in run_checks() if each.id == "durable_objects.E010"]
    assert "django-durable-objects[otel]" in message.msg
    with pytest.raises(ImproperlyConfigured, match="otel"):
        Counter.objects.get_by_name("a").add()
    settings.DURABLE_OBJECTS = {"TRACING": False}
    assert Counter.objects.get_by_name("a").add() == 1
