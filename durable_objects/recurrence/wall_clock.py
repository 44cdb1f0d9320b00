"""What clocks do to wall times: one in a gap is shifted forward, of one that comes twice the first counts.

Python's own reading of a wall time with ``fold=0`` is both (PEP 495); what is left is the order. Pure.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, tzinfo

#: No change of a zone's clocks moves the moment of a wall time further than this: Samoa's left out a whole day.
ANY_CHANGE = timedelta(hours=26)

Found = tuple[datetime, int, datetime]
"""A time of a rule: the moment, its number, and the wall time."""


def in_gap(wall_time: datetime) -> bool:
    """Return whether the clocks of its zone were put forward over this wall time, so that it does not exist."""
    before, after = wall_time.utcoffset(), wall_time.replace(fold=1).utcoffset()
    return before is not None and after is not None and before < after


def comes_twice(wall_time: datetime) -> bool:
    """Return whether the clocks of its zone were put back over this wall time."""
    before, after = wall_time.replace(fold=0).utcoffset(), wall_time.replace(fold=1).utcoffset()
    return before is not None and after is not None and before > after


def earliest_later(moment: datetime, zone: tzinfo) -> datetime:
    """Return a wall time (naive, the first of two) before which nothing is later than this moment.

    It is the moment's own, less what the clocks were put forward by shortly before: what they left out was shifted.
    """
    local = moment.astimezone(zone).replace(tzinfo=None)
    put_forward = local - (moment - ANY_CHANGE).astimezone(zone).replace(tzinfo=None) - ANY_CHANGE
    return local - max(put_forward, timedelta())


def in_order(times: Iterable[Found]) -> Iterator[tuple[Found, list[Found]]]:
    """Yield times that come in the order of the wall clock in the order of their moments, each with those that still
    wait for their turn: one that was shifted over a gap comes after later ones, and may be at the moment of another.
    """
    waiting: list[Found] = []
    for found in times:
        heapq.heappush(waiting, found)
        if in_gap(found[2]):
            continue
        while waiting and waiting[0][0] <= found[0]:
            yield heapq.heappop(waiting), waiting
    for found in sorted(waiting):  # the times end in a gap
        yield found, waiting
