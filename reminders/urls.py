"""Pages for those who get reminders. Mount them anywhere: ``path("remind/", include("reminders.urls"))``."""

from __future__ import annotations

from django.urls import path

from reminders import views

app_name = "reminders"
urlpatterns = [
    path("calendar/<str:token>.ics", views.feed, name="feed"),
    path("<str:verb>/<str:token>", views.act, name="act"),
]
