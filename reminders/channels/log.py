"""Channel "log": the logger ``reminders``, as in the seed."""

from __future__ import annotations

import logging

from durable_objects.logs import one_line_of
from reminders.channels import Message, register

logger = logging.getLogger("reminders")
one_line_of(logger)


@register("log")
def log(message: Message) -> None:
    """Write the reminder to the log."""
    logger.info("REMINDER: %s", message.marked, extra={"reminder": message.reminder, "key": message.key})
