"""What is logged ends nothing: handlers that raise, and passes that fail, for whatever reason."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from types import FrameType
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError

from durable_objects.alarms import leases
from durable_objects.delivery import dispatcher, publisher
from durable_objects.execution import watchdog
from durable_objects.logs import get_logger
from tests.models import Script, Scripted


class Raising(logging.Handler):
    """A handler whose service is away."""

    def handle(self, record: logging.LogRecord) -> bool:
        """Counts, and raises."""
        self.seen = [*getattr(self, "seen", []), record]
        raise RuntimeError("no service for logs")


@pytest.fixture
def raising(caplog: pytest.LogCaptureFixture) -> Iterator[Raising]:
    """That handler, on all that the engine logs."""
    handler = Raising()
    logger = logging.getLogger("durable_objects")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def test_a_logger_never_raises(raising: Raising, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a handler raises is lost; the record is the caller's own, with its line and its extra."""
    logger = get_logger("durable_objects.test")
    logger.warning("logged %s", "once", extra={"object_id": 5})
    (record,) = raising.seen
    assert (record.getMessage(), record.filename, record.funcName) == (
        "logged once",
        "test_logs.py",
        "test_a_logger_never_raises",
    )
    assert vars(record)["object_id"] == 5
    try:
        raise ValueError
    except ValueError:
        logger.exception("with a traceback")
    assert raising.seen[-1].exc_info


@pytest.mark.django_db(transaction=True)
def test_who_sets_an_alarm_never_hears_of_the_log(
    raising: Raising, monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    """With a broker that refuses and a log that raises, setting an alarm is well all the same."""

    def refuse(wake_up: publisher.WakeUp) -> None:
        raise OSError("away")

    monkeypatch.setattr(publisher, "_publisher", publisher._Publisher())
    publisher.register(refuse, lambda: False)
    obj = Scripted.objects.get_by_name("a")
    obj.storage.set_alarm(timedelta(0))
    assert obj.storage.get_alarm() is not None
    assert raising.seen


class Looped:
    """``dispatch --loop``, which makes or raises these, one for each pass, and is asked to stop in the last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *passes: dispatcher.Pass | Exception) -> None:
        self.made_at: list[float] = []
        self._passes = passes
        self._handlers: dict[int, Any] = {}
        self._frame: FrameType | None = None
        monkeypatch.setattr(signal, "signal", self._handlers.__setitem__)
        monkeypatch.setattr(dispatcher, "catch_up", self._catch_up)
        monkeypatch.setattr("durable_objects.management.streams.outlive", lambda: None)
        out, err = StringIO(), StringIO()
        call_command("alarms", "dispatch", "--loop", stdout=out, stderr=err)
        self.out, self.err = out.getvalue(), err.getvalue()

    def _catch_up(self, limit: timedelta) -> dispatcher.Pass:
        self.made_at.append(time.monotonic())
        if len(self.made_at) == len(self._passes):
            self._handlers[signal.SIGTERM](signal.SIGTERM, self._frame)
        made = self._passes[len(self.made_at) - 1]
        if isinstance(made, Exception):
            raise made
        return made


@pytest.mark.parametrize(
    "error", [KeyError("k"), MemoryError(), OSError("broker"), OperationalError("away"), RecursionError()]
)
def test_a_pass_that_raises_is_told_and_the_next_one_comes(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a pass raises, ``dispatch --loop`` says so on standard error, each time, and passes again."""
    monkeypatch.setattr("durable_objects.conf.engine.DISPATCH_EVERY", timedelta(seconds=0.01))
    made = dispatcher.Pass(published=1)
    loop = Looped(monkeypatch, error, error, made, made)
    assert loop.out.count("published 1") == 2
    assert loop.err.count("the pass failed, tried again in") == 2
    assert ("Traceback" in loop.err) is not isinstance(error, OperationalError)


def test_a_pass_that_failed_is_made_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that was away for a moment costs no ``DISPATCH_EVERY``; one that stays away is asked ever later."""
    assert [dispatcher.pause_after(failures).total_seconds() for failures in range(6)] == [5, 1, 2, 4, 5, 5]
    loop = Looped(monkeypatch, OperationalError("away"), dispatcher.Pass())
    assert loop.made_at[1] - loop.made_at[0] < 3
    assert "the pass failed, tried again in 1s" in loop.err


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_threads_that_keep_promises_outlive_any_error(raising: Raising, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases are renewed and runs ended again after an error of any kind, with a log that raises as well."""
    ended = threading.Event()
    tries: list[int] = []

    def end() -> None:
        tries.append(1)
        if len(tries) < 2:
            raise KeyError("k")
        ended.set()

    monkeypatch.setattr(watchdog, "GRACE_SECONDS", 0.01)
    with watchdog.watching(timedelta(0), end):
        assert ended.wait(20)

    class Run:
        object_id, fence = 1, 1

    def renew(*args: Any) -> bool:
        raise KeyError("k")

    monkeypatch.setattr("durable_objects.alarms.leases.renew", renew)
    leases._renew(Run())  # type: ignore[arg-type]  # all that it looks at
    assert len(raising.seen) >= 2
