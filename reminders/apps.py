"""The Reminders app."""

from django.apps import AppConfig


class RemindersConfig(AppConfig):
    """Delivers messages at their time."""

    name = "reminders"
    label = "reminders"
    default_auto_field = "django.db.models.BigAutoField"
