"""Standard streams that decide nothing: one that is closed, full, or cannot say a character, ends no work halfway.

What only reads stops quietly when nobody listens any more (``Output``); what keeps promises goes on (``Lasting``).
"""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from django.core.management.base import OutputWrapper

#: What the end of a process by SIGPIPE looks like to a shell: no trouble, the reader had enough.
EXIT_UNHEARD = 141

_ESCAPED = "durable_objects.escaped"


class OutputLost(Exception):
    """Standard output takes nothing any more. ``is_closed``: its reader is gone, as in ``… | head``."""

    def __init__(self, error: OSError | ValueError) -> None:
        super().__init__(f"standard output cannot be written: {getattr(error, 'strerror', None) or error}")
        self.is_closed = isinstance(error, BrokenPipeError | ValueError)


def lines_of(file: Iterable[str]) -> Iterator[str]:
    """The lines of a text without their ends: LF, or CR LF as Windows has it, whose byte order mark is left out too."""
    for number, line in enumerate(file):
        text = line.removeprefix("\ufeff") if number == 0 else line
        yield text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def bare(out: Any) -> Any:
    """The stream inside: one more wrapper around one of Django's would end a line twice."""
    while isinstance(out, OutputWrapper):
        out = vars(out)["_out"]
    return out


class _Stream:
    def __init__(self, out: Any) -> None:
        self._out = bare(out)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)


class Output(_Stream):
    """A stream whose failures are told from those of anything else: raises ``OutputLost``."""

    def write(self, text: str) -> None:
        """Write, or raise ``OutputLost``."""
        try:
            self._out.write(text)
        except (OSError, ValueError) as error:
            raise OutputLost(error) from error

    def flush(self) -> None:
        """Flush, or raise ``OutputLost``."""
        try:
            self._out.flush()
        except (OSError, ValueError) as error:
            raise OutputLost(error) from error


class Lasting(_Stream):
    """A stream that loses what it cannot write, and is tried again with the next line."""

    def write(self, text: str) -> None:
        """Write and flush what can be."""
        with contextlib.suppress(Exception):
            self._out.write(text)
            self._out.flush()

    def flush(self) -> None:
        """Flush what can be."""
        with contextlib.suppress(Exception):
            self._out.flush()


def prepare() -> None:
    """Call when a process starts: streams that are missing lead nowhere, and what cannot be encoded is escaped.

    A descriptor that is missing would go to the next file or socket that is opened, and get what is meant for a person.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115, PTH123  as long as the process
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", "") in {"strict", "surrogateescape"} and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ESCAPED)


def outlive() -> None:
    """Let this process outlive its streams: all that is written to them from now on gets lost where it cannot be."""
    sys.stdout = lasting(sys.stdout)
    sys.stderr = lasting(sys.stderr)


def settle() -> None:
    """Call when a process ends: what cannot be written is dropped, for Python would complain and end with 120."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def lasting(stream: Any) -> TextIO:
    """The stream, as one that loses what it cannot write."""
    return stream if isinstance(stream, Lasting) else Lasting(stream)  # type: ignore[return-value]  # it acts as one


def _escape(error: UnicodeError) -> tuple[str, int]:
    """As JSON writes it, so that JSON stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)), error.end


codecs.register_error(_ESCAPED, _escape)
