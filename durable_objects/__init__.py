"""Durable objects with alarms, for Django and Celery. What stands here is safe to import before Django is set up."""

from durable_objects.clock import now
from durable_objects.errors import (
    AlarmHandlerMissing,
    AlarmTimeLimitExceeded,
    CannotUnlock,
    ClassUnknown,
    DurableObjectError,
    InvalidAlarmTime,
    InvalidInput,
    InvalidKey,
    InvalidName,
    InvalidValue,
    IsolationNotSupported,
    ObjectBusy,
    RunSuperseded,
)
from durable_objects.exclusive import exclusive
from durable_objects.retry import ALARM_MAX_RETRIES, AlarmInfo

__all__ = [
    "ALARM_MAX_RETRIES",
    "AlarmHandlerMissing",
    "AlarmInfo",
    "AlarmTimeLimitExceeded",
    "CannotUnlock",
    "ClassUnknown",
    "DurableObjectError",
    "InvalidAlarmTime",
    "InvalidInput",
    "InvalidKey",
    "InvalidName",
    "InvalidValue",
    "IsolationNotSupported",
    "ObjectBusy",
    "RunSuperseded",
    "exclusive",
    "now",
]
