"""Durable objects with alarms, for Django and Celery. What stands here is safe to import before Django is set up."""

from durable_objects.alarms.backoff import ALARM_MAX_RETRIES, AlarmInfo
from durable_objects.alarms.declarations import cron, every
from durable_objects.alarms.times import check_alarm_time
from durable_objects.database.clock import now
from durable_objects.decorators import exclusive
from durable_objects.delivery.celery_config import celery_settings
from durable_objects.errors import (
    AlarmHandlerMissing,
    AlarmTimeLimitExceeded,
    CannotUnlock,
    ClassUnknown,
    DurableObjectError,
    GiveUp,
    InvalidAlarmTime,
    InvalidInput,
    InvalidKey,
    InvalidName,
    InvalidSchedule,
    InvalidValue,
    IsolationNotSupported,
    ObjectBusy,
    RunSuperseded,
    Snooze,
    ValueChanged,
)

__all__ = [
    "ALARM_MAX_RETRIES",
    "AlarmHandlerMissing",
    "AlarmInfo",
    "AlarmTimeLimitExceeded",
    "CannotUnlock",
    "ClassUnknown",
    "DurableObjectError",
    "GiveUp",
    "InvalidAlarmTime",
    "InvalidInput",
    "InvalidKey",
    "InvalidName",
    "InvalidSchedule",
    "InvalidValue",
    "IsolationNotSupported",
    "ObjectBusy",
    "RunSuperseded",
    "Snooze",
    "ValueChanged",
    "celery_settings",
    "check_alarm_time",
    "cron",
    "every",
    "exclusive",
    "now",
]
