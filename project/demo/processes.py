"""The processes of the demonstration: started with a clean environment, waited for with a limit, always ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

Seen = TypeVar("Seen")

#: All that a process of the demonstration inherits from its caller's environment.
INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "SYSTEMROOT")
SECONDS_TO_END = 5.0
LONGEST_SHOWN = 300


class Failure(Exception):
    """Something was not seen. The message says what was expected and what was seen instead."""


def clean_environment(**given: str) -> dict[str, str]:
    """Return an environment for a process that must not see the caller's DATABASE_URL, DJANGO_SETTINGS_MODULE and so
    on.
    """
    return {name: os.environ[name] for name in INHERITED if name in os.environ} | given


def wait_for(what: str, look: Callable[[], Seen], *, seconds: float, until: Callable[[Seen], object] = bool) -> Seen:
    """Return what ``look()`` gives as soon as ``until`` accepts it. Raises ``Failure`` with the last look after
    ``seconds``.
    """
    end = time.monotonic() + seconds
    while True:
        seen = look()
        if until(seen):
            return seen
        if time.monotonic() > end:
            raise Failure(f"expected {what} within {seconds:.0f} s, last seen: {shown(seen)}")
        time.sleep(0.05)


def shown(seen: object) -> str:
    """Return what was seen, short enough for a line."""
    text = repr(seen)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} ..."


class Child:
    """A Python process, started when made, ended by the ``with`` block. ``name`` names its files in ``folder``.

    Unless it is ``brief`` (its work has an end), it lives until it is asked to end: the ``with`` block raises
    ``Failure`` for one that has ended by itself.
    """

    def __init__(
        self,
        name: str,
        arguments: list[str],
        folder: Path,
        at: Path,
        environment: dict[str, str],
        *,
        brief: bool = False,
        python: str = sys.executable,
    ) -> None:
        self.name, self.brief = name, brief
        #: Whether it was asked to end, or its end was already reported.
        self.may_end = False
        self.log = folder / f"{name}.log"
        self._output = folder / f"{name}.out"
        with self._output.open("wb") as output, self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [python, *arguments],
                cwd=at,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for the demonstration, which then ends this one
            )
        self.pid = self._process.pid

    def ready(self, seconds: float) -> dict[str, Any]:
        """Return the JSON object that it writes as a line of standard output when it is ready."""

        def look() -> str | None:
            ended = self.exit_code()  # asked first: what it wrote before its end is then there to be read
            lines = self._output.read_text("utf-8").splitlines(keepends=True)
            announced = [line for line in lines if line.startswith("{") and line.endswith("\n")]
            if not announced and ended is not None:
                self.may_end = True
                raise Failure(f"expected the {self.name} to start, it ended with {ended}")
            return announced[0] if announced else None

        line = wait_for(f"the {self.name} to be ready", look, seconds=seconds)
        answer: dict[str, Any] = json.loads(line or "null")
        return answer

    def exit_code(self) -> int | None:
        """Return its exit code; None while it runs."""
        return self._process.poll()

    @property
    def has_failed(self) -> bool:
        """Whether it has ended by itself: with an error, or at all where it was to live on."""
        code = self.exit_code()
        return code is not None and not self.may_end and not (self.brief and code == 0)

    def ended(self, seconds: float) -> int:
        """Wait until it ends as it is meant to, say at a crash point; return its exit code."""
        self.may_end = True
        code = wait_for(f"the {self.name} to end", self.exit_code, seconds=seconds, until=lambda code: code is not None)
        return 0 if code is None else code

    def kill(self) -> None:
        """End it with -9, as a power cut would."""
        self.may_end = True
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """Ask it to end, and kill it after 5 s; return its exit code."""
        self.may_end = True
        if self._process.poll() is None:
            self._process.terminate()
            try:
                return self._process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        failed, code = self.has_failed, self.exit_code()
        self.stop()
        if failed and kind is None:
            raise Failure(f"expected the {self.name} to live until it is stopped, it ended by itself with {code}")
