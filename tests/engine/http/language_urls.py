"""A site whose addresses begin with a language, the interface's among them."""

from __future__ import annotations

from django.conf.urls.i18n import i18n_patterns
from django.urls import path

from durable_objects.http.api import GuardedAPI

api = GuardedAPI(title="Shop", urls_namespace="tongues")
urlpatterns = i18n_patterns(path("api/", api.urls))
