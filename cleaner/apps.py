"""The PeriodicCleaner app."""

from django.apps import AppConfig


class CleanerConfig(AppConfig):
    """Deletes what has become too old, again and again."""

    name = "cleaner"
    label = "cleaner"
    verbose_name = "Periodic cleaner"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from cleaner import checks  # noqa: F401  importing registers them
