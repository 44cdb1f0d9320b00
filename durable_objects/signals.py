"""Django signals of what happened to objects and their alarms, sent after the commit (docs/reference/events.md).

Each is sent once for what is committed, and never for what was rolled back, with ``send_robust()``: what a receiver
raises is logged and ends nothing. The sender is the object's class. Receivers get ``key`` (class label and name) and
``name``, and what is named below. They run in the thread that committed, before whoever waits for it goes on: hand slow
work to a task. A process that ends between the commit and the signal sends none; what must not be missed belongs into
the object's own code.
"""

from __future__ import annotations

from django.dispatch import Signal

#: A process that runs or dispatches alarms lives: every 5 s, from a thread that has nothing else to do, whatever became
#: of its alarms and messages. The sender is None, and there is neither ``key`` nor ``name``. Take no longer than that.
process_beat = Signal()
#: A run ended well. ``info``: the ``AlarmInfo`` that the handler got.
alarm_succeeded = Signal()
#: A run failed, and not for the last time. ``info``; ``error``: the traceback as text, as in the history; ``retry_at``:
#: when it is made again, None where another call has set or deleted the alarm meanwhile.
alarm_failed = Signal()
#: No run of the alarm is left: it is dead. ``info``; ``error``: the last traceback, or the reason it gave up for.
alarm_died = Signal()
#: A dead alarm was armed again, or the dead occurrence of a ``schedule`` (its name, empty for the alarm).
#: ``scheduled_at``: the time that it was for.
alarm_revived = Signal()
#: The object was used for the first time, which made its row.
object_created = Signal()
#: The object was deleted with its storage and alarm. The sender is None where this code does not have its class.
object_deleted = Signal()
