"""What runs and what is skipped after an outage. Pure arithmetic over a rule; each question takes a bounded time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Any

from durable_objects.errors import InvalidSchedule
from durable_objects.recurrence.rules import EPOCH, SHORTEST_INTERVAL, TICK, Rule
from durable_objects.validation import refusal, show

#: ``one``: one run stands for all that was missed. ``skip``: what is too late does not run. ``all``: each runs.
POLICIES = ("one", "skip", "all")
#: Of what was missed, ``all`` runs no more than this, the latest.
MOST_CAUGHT_UP = 100
#: What is skipped is counted up to here: this many means this many or more.
MOST_COUNTED = 10_000
#: How late an occurrence may begin by the policy ``skip`` where no grace is given.
GRACE_OF_SKIP = timedelta(minutes=1)
LONGEST_GRACE = timedelta(days=3_650)
MOST_PREVIEWED = 1_000


@dataclass(frozen=True, slots=True)
class Decision:
    """What comes of an occurrence that is due: the one to ``run`` (None: none does), how many are ``skipped`` (up to
    ``MOST_COUNTED``), the first of those, and the ``next`` occurrence to be set (None: the rule is over).
    """

    run: datetime | None
    skipped: int
    first_skipped: datetime | None
    next: datetime | None


@dataclass(frozen=True, slots=True)
class Preview:
    """The next ``times``; and of an outage the occurrences that ``run`` after it, how many are ``skipped`` (up to
    ``MOST_COUNTED``), and both as a sentence.
    """

    times: tuple[datetime, ...]
    runs: tuple[datetime, ...] = ()
    skipped: int = 0
    text: str = ""


def check(policy: Any, grace: Any) -> None:
    """Raise ``InvalidSchedule`` for what is no policy or no grace."""
    if policy not in POLICIES:
        raise refusal(f"misfire is {show(policy)}", ", ".join(POLICIES), InvalidSchedule)
    if grace is None:
        return
    if not isinstance(grace, timedelta) or not SHORTEST_INTERVAL <= grace <= LONGEST_GRACE:
        allowed = f"None, or a timedelta from 1 second to {LONGEST_GRACE.days:,} days"
        raise refusal(f"grace is {show(grace)}", allowed, InvalidSchedule)


def decide(rule: Rule, occurrence: datetime, now: datetime, policy: str, grace: timedelta | None) -> Decision:
    """Decide what runs for an occurrence that is due, with all that came after it up to ``now``.

    What is later than ``grace`` is skipped. ``one`` and ``skip`` run one: this occurrence, or where it is too late the
    latest that is not; the others are skipped, and the next is ahead of now. ``all`` runs this one, or where it is too
    late, or more than ``MOST_CAUGHT_UP`` are due, the first that is left; the next is the one after it, past or not.
    Each occurrence is run or skipped, never both.
    """
    now = max(now, occurrence)
    if grace is None and policy == "skip":
        grace = GRACE_OF_SKIP
    later = takewhile(lambda at: at <= now, rule.following(occurrence))
    due = [occurrence, *islice(later, MOST_COUNTED + MOST_CAUGHT_UP)]
    latest = due if len(due) <= MOST_COUNTED + MOST_CAUGHT_UP else _latest(rule, occurrence, now)
    in_time = [at for at in latest[-MOST_CAUGHT_UP:] if grace is None or now - at <= grace]
    if policy == "all":
        run = in_time[0] if in_time else None
        skipped = due.index(run) if run in due else len(due)
    else:
        is_in_time = grace is None or now - occurrence <= grace
        run = occurrence if is_in_time else in_time[-1] if in_time else None
        skipped = len(due) - (run is not None)
    first_skipped = next(at for at in due if at != run) if skipped else None
    follow_from = run if run and policy == "all" else now
    return Decision(run, min(skipped, MOST_COUNTED), first_skipped, rule.after(follow_from))


def preview(
    rule: Rule,
    policy: str,
    grace: timedelta | None,
    now: datetime,
    n: int,
    *,
    down: tuple[datetime, datetime] | None = None,
) -> Preview:
    """Return the next ``n`` times after now, and what an outage ``down`` (from, to) would run and skip.

    Raises ``InvalidSchedule`` for an ``n`` or an outage that is none, and as ``check`` does.
    """
    check(policy, grace)
    if type(n) is not int or not 0 <= n <= MOST_PREVIEWED:
        raise refusal(f"n is {show(n)}", f"a whole number from 0 to {MOST_PREVIEWED:,}", InvalidSchedule)
    times = tuple(islice(rule.following(now), n))
    if down is None:
        return Preview(times)
    begin, end = _outage(down)
    runs, skipped, occurrence = [], 0, rule.after(max(begin, EPOCH) - TICK)
    while occurrence is not None and occurrence <= end:
        decision = decide(rule, occurrence, end, policy, grace)
        runs += [decision.run] if decision.run else []
        skipped += decision.skipped
        occurrence = decision.next
    shown = f"{skipped:,} or more" if skipped >= MOST_COUNTED else f"{skipped:,}"
    verb = "runs" if len(runs) == 1 else "run"
    return Preview(times, tuple(runs), skipped, f"{len(runs):,} {verb}, {shown} skipped")


def _outage(down: Any) -> tuple[datetime, datetime]:
    allowed = "(from, to), two aware datetimes in that order"
    try:
        begin, end = down
        if begin.utcoffset() is not None and end.utcoffset() is not None and begin <= end:
            return begin.astimezone(UTC), end.astimezone(UTC)
    except (TypeError, ValueError, AttributeError, OverflowError):
        pass
    raise refusal(f"down is {show(down)}", allowed, InvalidSchedule)


def _latest(rule: Rule, after: datetime, until: datetime) -> list[datetime]:
    """Return the last ``MOST_CAUGHT_UP`` occurrences up to and with ``until``, of more that come after ``after``.

    Halves the time between, down to the second that occurrences are apart at least: work for a year is that for 25.
    """

    def found(after: datetime) -> list[datetime]:
        return list(islice(takewhile(lambda at: at <= until, rule.following(after)), MOST_CAUGHT_UP + 1))

    late = until
    while late - after > SHORTEST_INTERVAL:
        middle = after + (late - after) / 2
        if len(found(middle)) > MOST_CAUGHT_UP:
            after = middle
        else:
            late = middle
    return found(late)
