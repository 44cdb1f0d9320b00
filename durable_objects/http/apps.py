"""The guarded HTTP interface as a Django app."""

from importlib.util import find_spec

from django.apps import AppConfig
from django.core.exceptions import ImproperlyConfigured


class HttpConfig(AppConfig):
    """Has one table, the API tokens, and checks the settings."""

    name = "durable_objects.http"
    label = "durable_objects_http"
    verbose_name = "HTTP interface"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import the checks, which register themselves. Raises ``ImproperlyConfigured`` without django-ninja."""
        if find_spec("ninja") is None:
            raise ImproperlyConfigured(
                '"durable_objects.http" is in INSTALLED_APPS, and needs django-ninja, which is not installed: '
                'pip install "django-durable-objects[http]"'
            )
        from durable_objects.http import checks  # noqa: F401  importing registers them
