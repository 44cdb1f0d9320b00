"""Traces: a span for each turn and each run, where ``DURABLE_OBJECTS["TRACING"]`` asks for them.

Only this module knows OpenTelemetry, of which it needs the API; the project chooses where spans go. Whatever that
raises ends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_objects.alarms.lateness import stages_of
from durable_objects.alarms.run import Run
from durable_objects.conf import engine
from durable_objects.errors import Snooze

if TYPE_CHECKING:
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span

#: The name of a trace in ``Alarm.set_by_trace``, as the W3C writes it in a header.
_HEADER = "traceparent"

_NO_SPAN = nullcontext()


class Open(NamedTuple):
    """A span that has begun, and what the current one was before."""

    span: Span
    before: Token[Context]


def current() -> str:
    """Return the trace that this code is part of, for ``Alarm.set_by_trace``; nothing where there is none."""
    if not engine.TRACING:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    with suppress(Exception):
        TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(_HEADER, "")


def begin_turn(key: tuple[str, str]) -> Open | None:
    """Begin the span of a turn of this object, as part of the current one; None where there is to be none."""
    return _begin("turn", key, {}) if engine.TRACING else None


def end(begun: Open | None, error: BaseException | None) -> None:
    """End a span that has begun, with what ended it."""
    if begun is None:
        return
    from opentelemetry import context
    from opentelemetry.trace import Status, StatusCode

    with suppress(Exception):
        context.detach(begun.before)
    with suppress(Exception):
        if error is not None and not issubclass(type(error), Snooze):
            begun.span.set_status(Status(StatusCode.ERROR))
            begun.span.record_exception(error)
    with suppress(Exception):
        begun.span.end()


def running(key: tuple[str, str], run: Run, set_by: str) -> AbstractContextManager[None]:
    """Make a span of the block, which runs this alarm or schedule, linked to the trace that set it (``set_by``)."""
    return _running(key, run, set_by) if engine.TRACING else _NO_SPAN


@contextmanager
def _running(key: tuple[str, str], run: Run, set_by: str) -> Iterator[None]:
    begun = _begin("alarm", key, _facts(run), _links(set_by))
    ended_by: BaseException | None = None
    try:
        yield
    except BaseException as error:
        ended_by = error
        raise
    finally:
        end(begun, ended_by)


def _facts(run: Run) -> dict[str, Any]:
    """Return what a run's span says of it; spans of time in seconds."""
    info, stages = run.info, stages_of(run)
    return {
        "durable_objects.retry_count": info.retry_count,
        "durable_objects.scheduled_at": info.scheduled_at.isoformat(),
        "durable_objects.schedule": info.schedule,
        "durable_objects.lateness.total": info.lateness.total_seconds(),
        "durable_objects.lateness.dispatch": stages.dispatch.total_seconds(),
        "durable_objects.lateness.queue": stages.queue.total_seconds(),
        "durable_objects.lateness.lock": stages.lock.total_seconds(),
    }


def _links(set_by: str) -> list[Link]:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    with suppress(Exception):
        context = TraceContextTextMapPropagator().extract({_HEADER: set_by})
        found = trace.get_current_span(context).get_span_context()
        if set_by and found.is_valid:
            return [trace.Link(found)]
    return []


def _begin(what: str, key: tuple[str, str], facts: dict[str, Any], links: list[Link] | None = None) -> Open | None:
    from opentelemetry import context, trace

    named = {"durable_objects.class": key[0], "durable_objects.name": key[1]}
    with suppress(Exception):
        span = trace.get_tracer("durable_objects").start_span(f"{what} {key[0]}", attributes=named | facts, links=links)
        return Open(span, context.attach(trace.set_span_in_context(span)))
    return None
