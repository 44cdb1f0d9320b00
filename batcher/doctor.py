"""The doctor's questions about batchers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.db.models import Exists, OuterRef, QuerySet

from batcher.models import Batcher
from batcher.queue import LINE, Queue
from durable_objects.doctor import Finding, question
from durable_objects.formatting import number_of
from durable_objects.models import Alarm, Entry

AT_MOST = 1_000


@question
def items_left_waiting(now: datetime) -> Iterator[Finding]:
    """Find batchers whose items wait without an alarm, though nobody has cancelled it."""
    stranded = [batcher for batcher in _suspects() if _is_stranded(batcher)]
    if stranded:
        number = f"{len(stranded)}" + ("+" if len(stranded) >= AT_MOST else "")
        text = f"Batchers with items waiting, no alarm and no cancel on record: {number}, one is {stranded[0].name!r}."
        yield Finding("batcher.stranded", text, "--fix sends what waits.", fix=lambda: _flush(stranded))


def _suspects() -> QuerySet[Batcher]:
    """Return batchers without an alarm whose queue is neither empty nor paused, as read off its JSON text."""
    line = Entry.objects.filter(object=OuterRef("pk"), key=LINE, value__contains='"held":false')
    waits = line.exclude(value__contains='"bytes":0,')
    none_set = Batcher.objects.exclude(alarm_row__state__in=[Alarm.State.ARMED, Alarm.State.DEAD])
    return none_set.exclude(alarm_row__leased_until__isnull=False).filter(Exists(waits)).order_by("pk")[:AT_MOST]


def _is_stranded(batcher: Batcher) -> bool:
    queue = Queue(batcher.storage)
    return bool(queue.count) and not queue.paused


def _flush(batchers: list[Batcher]) -> str:
    for batcher in batchers:
        batcher.flush()
    return f"{number_of(len(batchers), 'batcher sends', 'batchers send')} now what waits"
