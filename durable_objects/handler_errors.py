"""What an object's own code raised: whether it is that code's failure, and how to format it safely.

Such an error is somebody else's object: its ``repr()``, its text and its notes are code that may raise as well.
"""

from __future__ import annotations

import traceback
from types import FrameType
from typing import cast

from durable_objects.failpoints import SimulatedCrash

#: Characters of an error that are kept: the end of it, where the cause stands.
ERROR_LENGTH = 8_000

#: Characters of an error in a log line.
_SHORT = 300

_ends_process: tuple[type[BaseException], ...] = (KeyboardInterrupt, SimulatedCrash)


def never_count(*classes: type[BaseException]) -> None:
    """Add exceptions by which the process is to end, wherever they are raised: no failure of the code that runs."""
    global _ends_process
    _ends_process += classes


def is_failure(error: BaseException) -> bool:
    """Return whether the code that raised it has failed, and the process goes on.

    So it is of every ``Exception``, and of ``SystemExit``, ``CancelledError``, ``GeneratorExit`` and their like. Not so
    of Ctrl-C, of what says that the process is to end, and of what a signal's handler raised into the code.
    """
    kind = type(error)  # isinstance() would ask the error, which may raise
    if issubclass(kind, BaseExceptionGroup):
        return all(is_failure(each) for each in cast("BaseExceptionGroup", error).exceptions)
    if issubclass(kind, _ends_process):
        return False
    return issubclass(kind, Exception) or not _came_by_a_signal(error)


def describe(error: BaseException) -> str:
    """Return the traceback as text that every database stores: NULs and lone surrogates escaped, the end if long."""
    try:
        text = "".join(traceback.format_exception(error))[-ERROR_LENGTH:]
    except BaseException as failure:
        if not is_failure(failure):
            raise
        text = _unformattable(error)
    return _storable(text)


def reason_of(error: BaseException) -> str:
    """Return the error's own text, without a traceback, as every database stores it: the beginning if it is long."""
    try:
        text = str(error)[:ERROR_LENGTH]
    except BaseException as failure:
        if not is_failure(failure):
            raise
        text = _unformattable(error)
    return _storable(text)


def in_short(error: BaseException | None) -> str:
    """Return the error's ``repr()`` for a line of text, cut if it is long."""
    try:
        text = repr(error)
    except BaseException as failure:
        if error is None or not is_failure(failure):
            raise
        return _unformattable(error)
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}…"


def named(error: BaseException) -> str:
    """Return ``ValueError: its message``, for people."""
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException as failure:
        if not is_failure(failure):
            raise
        return _unformattable(error)


def formattable(error: BaseException) -> BaseException:
    """Return the error, or one in its place where loggers and others cannot format this one."""
    try:
        traceback.format_exception(error)
        repr(error)
    except BaseException as failure:
        if not is_failure(failure):
            raise
        return RuntimeError(_unformattable(error))
    return error


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _unformattable(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__} (formatting it raised an error of its own)"


def _came_by_a_signal(error: BaseException) -> bool:
    """Return whether a signal's handler raised it: a function that was given the frame that it was called from."""
    step = error.__traceback__
    while step is not None:
        if _is_signal_handler(step.tb_frame):
            return True
        step = step.tb_next
    return False


def _is_signal_handler(frame: FrameType) -> bool:
    code, interrupted = frame.f_code, frame.f_back
    names = code.co_varnames[: code.co_argcount + bool(code.co_flags & 0x04)]  # CO_VARARGS: ``*args`` comes next
    given = [frame.f_locals.get(name) for name in names]
    flat = [part for value in given for part in (value if type(value) is tuple else (value,))]
    return interrupted is not None and any(part is interrupted for part in flat)
