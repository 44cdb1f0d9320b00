"""What the project adds to Django admin: periodic tasks, and one way to answer bad addresses."""

from django.contrib import admin

from durable_objects.admin import AnswersAddresses
from project.admin.periodic_tasks import PeriodicTaskAdmin

__all__ = ["PeriodicTaskAdmin"]

# The classes of other projects keep their own pages and forms, and answer any address as ours do.
for _model, _theirs in list(admin.site._registry.items()):
    if not isinstance(_theirs, AnswersAddresses):
        admin.site.unregister(_model)
        admin.site.register(_model, type(type(_theirs).__name__, (AnswersAddresses, type(_theirs)), {}))
