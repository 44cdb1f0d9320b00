"""Health, liveness, readiness, metrics: ``path("durable-objects/", include("durable_objects.urls"))``, or elsewhere."""

from __future__ import annotations

from django.urls import path

from durable_objects import views

app_name = "durable_objects"
urlpatterns = [
    path("health", views.health, name="health"),
    path("live", views.live, name="live"),
    path("ready", views.ready, name="ready"),
    path("metrics", views.metrics, name="metrics"),
]
