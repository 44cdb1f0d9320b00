"""The classes that admin pages are made of: Django's own, or django-unfold's where a project has that installed.

Its lists run no action of an admin class that is not made of its own.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.utils.module_loading import import_string

#: Each is a subclass of Django's of that name.
ModelAdmin: type[admin.ModelAdmin[Any]] = admin.ModelAdmin
StackedInline: type[admin.StackedInline[Any, Any]] = admin.StackedInline

if apps.is_installed("unfold"):
    ModelAdmin = import_string("unfold.admin.ModelAdmin")
    StackedInline = import_string("unfold.admin.StackedInline")
