"""Handlers are plain functions: the body of an async one or a generator would never run, so each is refused."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import Any

import pytest

from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Counter, Scripted

pytestmark = pytest.mark.django_db

NOW = timedelta(0)


async def as_coroutine(self: Any, *args: Any) -> None:
    """An async handler."""
    self.storage.put("ran", 1)


def as_generator(self: Any, *args: Any) -> Any:
    """A handler with a ``yield`` in it."""
    yield self.storage.put("ran", 1)


async def as_async_generator(self: Any, *args: Any) -> Any:
    """Both."""
    yield self.storage.put("ran", 1)


UNFINISHED = [as_coroutine, as_generator, as_async_generator]


@pytest.mark.parametrize("name", ["alarm", "initialize", "alarm_died"])
@pytest.mark.parametrize("function", UNFINISHED)
@pytest.mark.parametrize("form", [lambda f: f, functools.partialmethod, staticmethod, classmethod])
def test_async_or_generator_handler_is_refused_at_import(function: Any, form: Any, name: str) -> None:
    """A class with such a handler, its own or inherited, cannot be made; the message names it."""
    meta = type("Meta", (), {"proxy": True, "app_label": "tests"})
    mixin = type("Mixin", (), {name: form(function)})
    with pytest.raises(TypeError, match=rf"Refused\.{name} is an? (async|generator)"):
        type("Refused", (Counter,), {"Meta": meta, "__module__": __name__, name: form(function)})
    with pytest.raises(TypeError, match=rf"Refused\.{name} is an? (async|generator)"):
        type("Refused", (mixin, Counter), {"Meta": meta, "__module__": __name__})


@pytest.mark.parametrize("name", ["alarm", "initialize"])
@pytest.mark.parametrize("function", UNFINISHED)
def test_handler_that_returns_work_has_failed(
    clock: FakeClock, obj: Scripted, monkeypatch: pytest.MonkeyPatch, function: Any, name: str
) -> None:
    """One assigned later, or a plain function that returns what nobody awaits, is a failure that says so."""
    obj.storage.set_alarm(NOW)
    monkeypatch.setattr(Scripted, name, function)
    (run,) = run_due_alarms()
    assert run.outcome == "failed"
    assert f"Scripted.{name}() returned" in run.error
    assert "has not been done" in run.error


def test_initialize_that_returns_work_is_told_to_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call on such an object is refused in the same words."""
    monkeypatch.setattr(Counter, "initialize", as_coroutine)
    with pytest.raises(TypeError, match=r"Counter\.initialize\(\) returned a coroutine"):
        Counter.objects.get_by_name("a").add()
