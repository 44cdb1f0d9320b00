"""The site: settings, Celery app, admin, HTTP interface and commands around the three apps."""

from project.celery import app as celery_app

__all__ = ["celery_app"]
