"""What must be true of the runs, whatever happened to the processes. Judged on what they wrote down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from tests.support.site_processes import Site
from tests.support.upstream import Received

_SPANS = """
    SELECT witness, run, max(fence), min(pid), min(scheduled_at), min(at),
        max(at) FILTER (WHERE what <> 'ready'), max(at), bool_or(what = 'unlocked'), bool_or(what = 'done')
    FROM tests_moment GROUP BY witness, run ORDER BY witness, min(at)
"""


@dataclass(frozen=True)
class Span:
    """One run of a ``Witness``: from its first to its last moment; ``last_outside`` counts those in the pause too."""

    witness: int
    run: str
    fence: int
    pid: int
    scheduled_at: datetime
    first: datetime
    last: datetime
    last_outside: datetime
    unlocked: bool
    done: bool


def spans(site: Site) -> list[Span]:
    """All runs that left a trace, per witness in the order of their beginning."""
    return [Span(*row) for row in site.rows(_SPANS)]


def pairs(of: list[Span]) -> list[tuple[Span, Span]]:
    """Each run with the next one of the same witness."""
    return [(one, other) for one, other in pairwise(of) if one.witness == other.witness]


def judge(site: Site, *, once: bool = True, paused: bool = False) -> list[Span]:
    """None early, no two of a witness overlap, an unfinished one was fenced, each alarm ended well (``once``: in one).

    ``paused``: a stale runner went on outside after its pause; only what it did inside counts then.
    """
    found = spans(site)
    assert found, "no run left a trace"
    assert [span for span in found if span.first < span.scheduled_at] == [], "early"
    for one, other in pairs(found):
        assert other.first >= (one.last if paused else one.last_outside), f"overlap: {one} {other}"
        assert other.fence >= one.fence, f"fences go back: {one} {other}"
        assert one.done or other.fence > one.fence, f"not fenced: {one} {other}"
    done = Counter((span.witness, span.scheduled_at) for span in found if span.done)
    if once:
        assert [key for key, count in done.items() if count > 1] == [], "committed twice"
        assert {span.witness for span in found} == {witness for witness, _ in done}, "not ended well"
    early = site.rows("SELECT id FROM durable_objects_alarmrun WHERE started_at < due_at OR due_at < scheduled_at")
    assert early == []
    return found


def uncounted(site: Site) -> None:
    """No run failed or died, and no retry was burnt."""
    counted = "SELECT object_id, outcome, error FROM durable_objects_alarmrun WHERE outcome IN ('failed', 'dead')"
    assert site.rows(counted) == []
    counted = "SELECT object_id, retry_count, crashed_starts FROM durable_objects_alarm"
    slots = f"{counted} WHERE retry_count > 0 OR crashed_starts > 0"
    assert site.rows(slots) == []


def recoveries(found: list[Span], kills: Iterable[tuple[datetime, set[int]]]) -> list[float]:
    """How many seconds after the kill of its process each run that was cut off while unlocked began again."""
    ends = {pid: at for at, pids in kills for pid in pids}
    again = {one.run: other.first for one, other in pairs(found)}
    cut_off = [span for span in found if span.unlocked and not span.done and span.pid in ends]
    missing = [span for span in cut_off if span.run not in again]
    assert missing == [], "never ran again"
    return sorted((again[span.run] - ends[span.pid]).total_seconds() for span in cut_off)


def percentiles(seconds: list[float]) -> str:
    """``n=…, p50 …, p99 …, max …`` in seconds."""
    if not seconds:
        return "n=0"
    ordered = sorted(seconds)
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99))
    return f"n={len(ordered)}, p50 {p50:.2f} s, p99 {p99:.2f} s, max {ordered[-1]:.2f} s"


def delivered(received: list[Received], accepted: Iterable[str]) -> str:
    """Every accepted item arrived, under one key only, and each key had one content."""
    contents: dict[str | None, set[bytes]] = {}
    keys: dict[str, set[str | None]] = {}
    for request in received:
        contents.setdefault(request.key, set()).add(request.body)
        for item in request.items:
            keys.setdefault(item, set()).add(request.key)
    assert {key for key, bodies in contents.items() if len(bodies) > 1 or key is None} == set(), "one key, two contents"
    assert {item for item, of in keys.items() if len(of) > 1} == set(), "one item, two keys"
    lost = set(accepted) - set(keys)
    assert lost == set(), f"{len(lost)} accepted items lost"
    return f"{len(keys)} items in {len(contents)} batches, {len(received)} posts"
