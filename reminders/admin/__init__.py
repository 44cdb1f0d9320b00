"""Reminders, their recipients, digests and deliveries, and alerts in Django admin."""

from reminders.admin.alerts import AlertMessageAdmin, AlertRuleAdmin
from reminders.admin.deliveries import DeliveryAdmin
from reminders.admin.digests import DigestAdmin
from reminders.admin.recipients import RecipientAdmin
from reminders.admin.reminders import ReminderAdmin

__all__ = ["AlertMessageAdmin", "AlertRuleAdmin", "DeliveryAdmin", "DigestAdmin", "RecipientAdmin", "ReminderAdmin"]
