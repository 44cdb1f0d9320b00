"""Reminders, their recipients and their deliveries in Django admin."""

from reminders.admin.deliveries import DeliveryAdmin
from reminders.admin.recipients import RecipientAdmin
from reminders.admin.reminders import ReminderAdmin

__all__ = ["DeliveryAdmin", "RecipientAdmin", "ReminderAdmin"]
