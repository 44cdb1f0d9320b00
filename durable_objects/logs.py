"""Loggers that end nothing: what a handler of the project's logging raises is not raised again where something is told.

A full disk, a closed pipe or a service for errors that is away is no reason to lose an alarm's run or a lease.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # generic in the stubs only
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class SteadyLogger(_Adapter):
    """A logger whose methods never raise what a handler or a filter raises; what they could not tell is lost."""

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        """Through here goes all that is logged."""
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1  # the line is the caller's
        with contextlib.suppress(Exception):
            super().log(level, msg, *args, **kwargs)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """As it is: an adapter's own would drop the caller's ``extra``."""
        return msg, kwargs


def get_logger(name: str) -> SteadyLogger:
    """``logging.getLogger(name)``, steady."""
    return SteadyLogger(logging.getLogger(name))
