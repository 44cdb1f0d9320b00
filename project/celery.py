"""The Celery app that workers, beat and the web server share."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
# Celery runs Django's checks in each worker and drops what they find. They import every page of the site.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
