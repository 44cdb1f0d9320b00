"""The doctor's questions about cleaners."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.db.models import Max

from cleaner.models import CleanerRun, in_seconds
from durable_objects.doctor import Finding, question
from durable_objects.validation import show


@question
def timestamps_in_seconds(now: datetime) -> Iterator[Finding]:
    """Find cleaners whose last cleanup left entries alone because their timestamp looks like seconds."""
    last = CleanerRun.objects.filter(ended_at__isnull=False).order_by().values("object_id").annotate(last=Max("id"))
    runs = CleanerRun.objects.filter(id__in=last.values("last"), in_seconds__gt=0).select_related("object")
    for run in runs.order_by("pk")[:10]:
        text = f"Cleaner {show(run.object.name)}: {in_seconds(run.in_seconds)}"
        yield Finding("cleaner.seconds", text, "Write milliseconds, or a datetime; then they expire.")
