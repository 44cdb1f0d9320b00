"""Django admin, its modules imported by what shows or checks them: a worker does neither, and a quarter of its memory
would be theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.contrib import admin
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core.checks import CheckMessage, Tags, register


class AdminConfig(SimpleAdminConfig):
    """Imports no admin module: ``project.urls`` does, and ``manage.py check``."""

    def ready(self) -> None:
        """Register Django's checks of the admin, which would look at no class as long as none is imported."""
        register(check_dependencies, Tags.admin)
        register(check_classes, Tags.admin)


def check_classes(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check all classes of the admin, as Django does."""
    admin.autodiscover()
    return check_admin_app(app_configs, **kwargs)
