"""Channel "log": the logger ``reminders``, as in the seed."""

from __future__ import annotations

import logging

from durable_objects.logs import one_line_of
from reminders.channels import Message, register

logger = logging.getLogger("reminders")
one_line_of(logger)


@register("log")
def log(message: Message) -> None:
    """Write the reminder, or the alert, to the log."""
    if message.alert is not None:
        extra = {"key": message.key, "alert": message.alert.key, "event": f"alert_{message.alert.event}"}
        logger.warning("%s", message.text, extra=extra)
        return
    logger.info("REMINDER: %s", message.marked, extra={"reminder": message.reminder, "key": message.key})
