"""The project. Django imports it first, and so every process uses its Celery app."""

from mysite.celery import app as celery_app

__all__ = ["celery_app"]
