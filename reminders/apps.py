"""The Reminders app."""

from django.apps import AppConfig


class RemindersConfig(AppConfig):
    """Delivers messages at their time."""

    name = "reminders"
    label = "reminders"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import the channels and checks, which register themselves."""
        from reminders import checks  # noqa: F401  # importing them is the point
        from reminders.channels import email, log, webhook  # noqa: F401  # likewise
