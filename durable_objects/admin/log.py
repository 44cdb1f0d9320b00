"""What the log of the admin says of objects, for whoever reads it."""

from __future__ import annotations

from django.contrib.admin.models import LogEntry

#: How the text of a change of storage begins; what follows has the value before and after.
OF_STORAGE = "Storage, "


def text_of(entry: LogEntry, *, shows_storage: bool) -> str:
    """Return what somebody did; of a change of storage no more than that, for a user who may not view entries."""
    text = entry.get_change_message()
    return "Storage was changed." if text.startswith(OF_STORAGE) and not shows_storage else text
