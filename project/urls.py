"""Every address the site answers: Django admin, the pages of reminders, and the HTTP interface at the root."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from project.admin_login import LoginForm
from project.api import api

admin.site.login_form = LoginForm
urlpatterns = [
    path("admin/", admin.site.urls),
    path("remind/", include("reminders.urls")),
    path("", api.urls),
]
