"""Every address the site answers: the first page, Django admin, the pages of reminders, and the HTTP interface."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import TemplateView

from project.admin_login import LoginForm
from project.api import api

admin.autodiscover()
admin.site.login_form = LoginForm
urlpatterns = [
    path("", TemplateView.as_view(template_name="project/home.html"), name="home"),
    path("admin/", admin.site.urls),
    path("remind/", include("reminders.urls")),
    path("", api.urls),
]
