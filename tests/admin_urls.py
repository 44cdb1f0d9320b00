"""An admin site that has the project's pages and some for classes of the tests; ``Impatient`` is not among them."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from durable_objects.admin import DurableObjectAdmin
from project.api import api
from tests.models import Account, Counter, Scripted, Shop

admin.autodiscover()
site = admin.AdminSite()
for _model, _admin in admin.site._registry.items():
    site.register(_model, type(_admin))
site.register([Account, Counter, Scripted, Shop], DurableObjectAdmin)

urlpatterns = [path("admin/", site.urls), path("remind/", include("reminders.urls")), path("", api.urls)]
