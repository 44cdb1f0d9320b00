"""What people write by hand: a Celery task that locks a row of their model, changes it and saves it, in a transaction.

On the same broker, queues and pool as ours. ``REUSE`` is ``CELERY_DB_REUSE_MAX``; empty for Celery's default, which
connects again for each task.
"""

from __future__ import annotations

import os

from django.db import transaction

from benchmarks.peers.celery_app import app, stamp

__all__ = ["app", "stamp"]

if _reuse := os.environ.get("REUSE"):
    app.conf["CELERY_DB_REUSE_MAX"] = int(_reuse)


@app.task(ignore_result=True)
def save(pk: int) -> None:
    """Save one row of a model, under its lock."""
    from tests.models import Profile

    with transaction.atomic():
        row = Profile.objects.select_for_update().get(pk=pk)
        row.text = f"{row.text}."[-20:]
        row.save(update_fields=["text"])
