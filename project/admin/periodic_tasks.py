"""django-celery-beat's periodic tasks in admin: the dispatcher is one, and nobody stops it who may not change it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest, HttpResponse
from django_celery_beat.admin import PeriodicTaskAdmin as BeatsAdmin
from django_celery_beat.admin import PeriodicTaskForm as BeatsForm
from django_celery_beat.models import PeriodicTask

from durable_objects.admin import BaseAdmin, ChangesForm

Action = Callable[[Any, HttpRequest, models.QuerySet[Any]], HttpResponse | None]

admin.site.unregister(PeriodicTask)


class PeriodicTaskForm(ChangesForm, BeatsForm):  # type: ignore[misc]  # django-celery-beat ships no types
    """django-celery-beat's form, in which the registered task that is chosen takes the place of the one typed."""

    @cached_property
    def changed_data(self) -> list[str]:
        """What was changed; the task too when it was chosen from the list."""
        changed = super().changed_data
        return [*changed, "task"] if "regtask" in changed and "task" not in changed else changed

    def _clean_json(self, field: str) -> str:
        """Return the text, which is JSON. Raises ``ValidationError``."""
        try:
            return str(super()._clean_json(field))
        except RecursionError:
            raise ValidationError("Unable to parse JSON: it is nested too deeply") from None


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(BaseAdmin, BeatsAdmin):  # type: ignore[misc]  # as above
    """django-celery-beat's pages, whose actions enable, disable and run tasks: for who may change them, and logged.

    Without this everybody who may look could stop the dispatcher, and nobody would know who did.
    """

    form = PeriodicTaskForm
    change_form_template = None  # theirs has a script inside, which the policy forbids: it would describe the crontab

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        """Remove django-celery-beat's own actions for who may not change tasks; Django's delete action checks by
        itself.
        """
        place = () if action_location is None else (action_location,)  # Django 6.1 passes it
        actions: dict[str, Any] = super().get_actions(request, *place)
        theirs = [name for name in BeatsAdmin.actions if name in actions]
        if not self.has_change_permission(request):
            return {name: action for name, action in actions.items() if name not in theirs}
        for name in theirs:
            actions[name] = self.get_action(_logged(getattr(BeatsAdmin, name)), *place)
        return actions


def _logged(action: Any) -> Action:
    @wraps(action)
    def act(modeladmin: Any, request: HttpRequest, queryset: models.QuerySet[Any]) -> HttpResponse | None:
        rows, user = list(queryset), request.user
        answer: HttpResponse | None = action(modeladmin, request, queryset)
        message = f"{action.short_description}."
        LogEntry.objects.log_actions(int(user.pk or 0), rows, CHANGE, change_message=message)
        return answer

    return act
