"""Loggers that end nothing: what a handler of the project's logging raises does not reach whoever logs.

A full disk, a closed pipe or a service for errors that is away is no reason to lose an alarm's run or a lease. And
nothing that others have named or written can steer a terminal from there, or look like a record of its own.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from durable_objects.escaping import one_line, visible

if TYPE_CHECKING:  # generic in the stubs only
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class SteadyLogger(_Adapter):
    """A logger whose methods never raise what a handler or a filter raises; what they could not log is lost."""

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        """Log it; all of the logger's methods do it by this one."""
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1  # the line is the caller's
        with contextlib.suppress(Exception):
            super().log(level, msg, *args, **kwargs)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Return it as it is: an adapter's own would drop the caller's ``extra``."""
        return msg, kwargs


class OneLine(logging.Filter):
    """Escapes line breaks in a record's message, and what steers terminals there and in its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change what is to be escaped, and let every record pass."""
        with contextlib.suppress(Exception):  # a message that does not fit its arguments is reported by the handler
            message = record.getMessage()
            if (line := one_line(message)) != message:
                record.msg, record.args = line, ()
            if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
                record.exc_text = _indented(logging.Formatter().formatException(record.exc_info))
        return True


class LineFormatter(logging.Formatter):
    """For a project's own handlers: the same for the records of every library, whose further lines are indented."""

    def formatException(self, ei: Any) -> str:  # noqa: N802  logging's name
        """Return the traceback, indented."""
        return _indented(super().formatException(ei))

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's lines: the first begins as the format has it, and no other does."""
        first, *others = visible(super().format(record)).split("\n")
        return "\n".join([first, *(each if each.startswith(INDENT) else INDENT + each for each in others)])


INDENT = "    "


def get_logger(name: str) -> SteadyLogger:
    """Return ``logging.getLogger(name)``, which never raises and writes a line for each record."""
    return SteadyLogger(one_line_of(logging.getLogger(name)))


def about(event: str, key: tuple[str, str] | None = None, **figures: Any) -> dict[str, Any]:
    """Return a record's ``extra``: what happened, by a name that stays the same; which object; and figures."""
    named = {} if key is None else {"object_class": key[0], "object_name": key[1]}
    return {"event": event, **named, **figures}


def one_line_of(logger: logging.Logger) -> logging.Logger:
    """Return the logger, having made each of its messages one line."""
    if not any(isinstance(each, OneLine) for each in logger.filters):
        logger.addFilter(OneLine())
    return logger


def _indented(trace: str) -> str:
    return INDENT + visible(trace).replace("\n", f"\n{INDENT}")
