"""The receiver kit as a Django app."""

from django.apps import AppConfig


class ReceiverConfig(AppConfig):
    """Has one table: which messages were received."""

    name = "durable_objects.receiver"
    label = "durable_objects_receiver"
    verbose_name = "Received messages"
    default_auto_field = "django.db.models.BigAutoField"
