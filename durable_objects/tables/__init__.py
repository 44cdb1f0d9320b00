"""The tables: objects, their entries, alarm slot and schedules, the history of runs, processes, and what holds back."""

from __future__ import annotations

from durable_objects.tables.alarms import Alarm
from durable_objects.tables.columns import ByteOrderCharField, ByteOrderTextField, RowManager
from durable_objects.tables.history import AlarmRun
from durable_objects.tables.objects import Entry, Object
from durable_objects.tables.operations import Operation
from durable_objects.tables.pauses import ClassLimit, Pause
from durable_objects.tables.processes import Dispatcher, Process
from durable_objects.tables.saved_views import SavedView
from durable_objects.tables.schedules import Schedule

__all__ = [
    "Alarm",
    "AlarmRun",
    "ByteOrderCharField",
    "ByteOrderTextField",
    "ClassLimit",
    "Dispatcher",
    "Entry",
    "Object",
    "Operation",
    "Pause",
    "Process",
    "RowManager",
    "SavedView",
    "Schedule",
]
