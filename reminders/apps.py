"""The Reminders app."""

from django.apps import AppConfig

from durable_objects.conf import require_packages, require_time_zones
from durable_objects.signals import process_beat


class RemindersConfig(AppConfig):
    """Delivers messages at their time."""

    name = "reminders"
    label = "reminders"
    default_auto_field = "django.db.models.BigAutoField"

    def import_models(self) -> None:
        """Import the models. Raises ``ImproperlyConfigured`` where what they need is not installed."""
        require_packages(self.name, "reminders", "apprise", "httpx", "icalendar", "standardwebhooks")
        super().import_models()

    def ready(self) -> None:
        """Import what registers itself: channels, checks, verbs. Raises ``ImproperlyConfigured`` without ``USE_TZ``."""
        require_time_zones(self.name)
        from reminders import bulk_verbs, checks  # noqa: F401  # importing them is the point
        from reminders.alerts.watching import watcher
        from reminders.channels import email, log, webhook  # noqa: F401  # likewise

        process_beat.connect(watcher.wake, dispatch_uid="reminders.alerts")
