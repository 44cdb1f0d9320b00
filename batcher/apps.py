"""The Batcher app."""

from django.apps import AppConfig

from durable_objects.conf import require_packages, require_time_zones


class BatcherConfig(AppConfig):
    """Collects items and posts them upstream in batches."""

    name = "batcher"
    label = "batcher"
    default_auto_field = "django.db.models.BigAutoField"

    def import_models(self) -> None:
        """Import the models. Raises ``ImproperlyConfigured`` where what they need is not installed."""
        require_packages(self.name, "batcher", "httpx", "rich", "standardwebhooks")
        super().import_models()

    def ready(self) -> None:
        """Import checks and verbs, which register themselves. Raises ``ImproperlyConfigured`` without ``USE_TZ``."""
        require_time_zones(self.name)
        from batcher import bulk_verbs, checks  # noqa: F401  importing registers them
