"""Standard streams that end no work halfway: when one is closed or full, or its encoding lacks a character.

A command that only reads stops silently when its reader is gone (``Output``); a process that keeps promises goes on
(``Lasting``).
"""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from django.core.management.base import OutputWrapper

#: The exit code that a shell sees when SIGPIPE ends a process: the reader had enough.
EXIT_READER_GONE = 141

_ESCAPED = "durable_objects.escaped"


class OutputLost(Exception):
    """Standard output can no longer be written. ``is_closed``: its reader is gone, as in ``… | head``."""

    def __init__(self, error: OSError | ValueError) -> None:
        super().__init__(f"standard output cannot be written: {getattr(error, 'strerror', None) or error}")
        self.is_closed = isinstance(error, BrokenPipeError | ValueError)


def lines_of(file: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a text without line ends (LF or CR LF) and without a byte order mark."""
    for number, line in enumerate(file):
        text = line.removeprefix("\ufeff") if number == 0 else line
        yield text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def bare(out: Any) -> Any:
    """Return the stream inside Django's wrappers: one more wrapper around one of those would end a line twice."""
    while isinstance(out, OutputWrapper):
        out = vars(out)["_out"]
    return out


class _Stream:
    def __init__(self, out: Any) -> None:
        self._out = bare(out)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)


class Output(_Stream):
    """A stream whose failures raise ``OutputLost``, so that they cannot be taken for those of anything else."""

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
    """A stream that drops what it cannot write, and tries again with the next line."""

    def write(self, text: str) -> None:
        """Write and flush, or drop the text."""
        with contextlib.suppress(Exception):
            self._out.write(text)
            self._out.flush()

    def flush(self) -> None:
        """Flush, or do nothing."""
        with contextlib.suppress(Exception):
            self._out.flush()


def prepare() -> None:
    """Call when a process starts: missing streams go to the null device, and what cannot be encoded is escaped.

    The number of a missing descriptor would go to the next file or socket that is opened, which would then get texts
    meant for a person.
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
    """Let this process outlive its standard output and error: what cannot be written to them is dropped from now on."""
    sys.stdout = lasting(sys.stdout)
    sys.stderr = lasting(sys.stderr)


def settle() -> None:
    """Call when a process ends: drop what cannot be written, since Python would complain and exit with 120."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def lasting(stream: Any) -> TextIO:
    """Return the stream as one that drops what it cannot write."""
    return stream if isinstance(stream, Lasting) else Lasting(stream)  # type: ignore[return-value]  # it acts as one


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Escape as JSON does, so that JSON stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)), error.end


codecs.register_error(_ESCAPED, _escape)
