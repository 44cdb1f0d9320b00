"""The guarded HTTP interface as a Django app."""

from django.apps import AppConfig

from durable_objects.conf import require_packages


class HttpConfig(AppConfig):
    """Has one table, the API tokens, and checks the settings."""

    name = "durable_objects.http"
    label = "durable_objects_http"
    verbose_name = "HTTP interface"
    default_auto_field = "django.db.models.BigAutoField"

    def import_models(self) -> None:
        """Import the models. Raises ``ImproperlyConfigured`` without django-ninja: admin would need it next."""
        require_packages(self.name, "http", "ninja")
        super().import_models()

    def ready(self) -> None:
        """Import the checks, which register themselves."""
        from durable_objects.http import checks  # noqa: F401  importing registers them
