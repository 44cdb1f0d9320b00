"""Reminders, their recipients, digests and deliveries in Django admin."""

from reminders.admin.deliveries import DeliveryAdmin
from reminders.admin.digests import DigestAdmin
from reminders.admin.recipients import RecipientAdmin
from reminders.admin.reminders import ReminderAdmin

__all__ = ["DeliveryAdmin", "DigestAdmin", "RecipientAdmin", "ReminderAdmin"]
