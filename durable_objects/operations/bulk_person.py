"""Whether the person for whom an operation runs may still do it: asked with each chunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.urls import get_resolver
from django.utils.module_loading import autodiscover_modules

from durable_objects.handler_errors import named
from durable_objects.tables import Operation

#: Tells whether a user may, now, do what an operation does.
May = Callable[[Any, Operation], bool]

#: What is raised where something is asked of a request that only a real one has, or the user of a real one.
NEEDS_A_REQUEST = (AttributeError, LookupError)

_may: May | None = None


def register(may: May) -> None:
    """Set how that is found out. Called by ``admin``, whose classes decide who may do what."""
    global _may
    _may = may


def refusal(operation: Operation) -> str:
    """Return why the operation must not go on as it is; empty where it may, and for one that no user of the admin
    answers for.
    """
    if not operation.user:
        return ""
    users: Any = get_user_model()._default_manager
    user = users.filter(pk=operation.user).first()
    if user is None or not user.is_active:
        why = "is no active user any more"
    else:
        _import_admin_sites()
        try:
            if _may is None or _may(user, operation):
                return ""
        except NEEDS_A_REQUEST as error:
            return (
                f"whether {operation.by}, for whom it runs, may still do it cannot be found out without a request: "
                f"{named(error)}. The permissions and get_queryset of the class's admin must do with request.user"
            )
        why = "may not do this to all of these objects any more"
    return f"{operation.by}, for whom it runs, {why}: somebody who may do it has to go on with it"


def _import_admin_sites() -> None:
    """Import the admin's classes and sites, which decide: a worker that shows no page need not have them yet, and a
    site may be made where the URLs are.
    """
    if apps.is_installed("django.contrib.admin"):
        autodiscover_modules("admin")
        if getattr(settings, "ROOT_URLCONF", None):
            _ = get_resolver().url_patterns
