"""The engine as a Django app."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate


class DurableObjectsConfig(AppConfig):
    """Connects the publisher to Celery, system checks, and what follows ``migrate``."""

    name = "durable_objects"
    verbose_name = "Durable objects"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import what registers itself."""
        from durable_objects import checks, declared_schedules, kinds, renamed_models, tasks  # noqa: F401  # importing them is the point
        from durable_objects.delivery import beat
        from durable_objects.operations import bulk_chunks  # noqa: F401  # likewise

        pre_migrate.connect(kinds.migration_begins, sender=self, dispatch_uid="durable_objects.kinds")
        post_migrate.connect(kinds.migration_ends, sender=self, dispatch_uid="durable_objects.kinds")
        post_migrate.connect(
            renamed_models.merge_renamed_kinds, sender=self, dispatch_uid="durable_objects.renamed_models"
        )
        post_migrate.connect(
            declared_schedules.reconcile, sender=self, dispatch_uid="durable_objects.declared_schedules"
        )
        post_migrate.connect(beat.keep_entry, sender=self, dispatch_uid="durable_objects.delivery.beat")
