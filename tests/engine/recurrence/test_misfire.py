"""After an outage: what runs, what is skipped, and what comes next, by each policy."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable_objects import InvalidSchedule
from durable_objects.recurrence import misfire, rules
from durable_objects.recurrence.misfire import MOST_CAUGHT_UP, MOST_COUNTED, POLICIES, decide, preview
from durable_objects.recurrence.rules import Rule
from tests.support.examples import examples

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
EVERY_MINUTE = ",".join(map(str, range(60)))


def make(**given: Any) -> Rule:
    """A rule that is made long before noon."""
    return rules.make(now=NOON - 400 * DAY, **given)


HOURLY = make(every=HOUR)


@pytest.mark.parametrize(
    ("policy", "grace", "late", "run", "skipped", "first_skipped", "following"),
    [
        # In time: it runs, and the next is ahead.
        ("one", None, SECOND, 0, 0, None, 1),
        ("skip", None, MINUTE, 0, 0, None, 1),
        ("all", None, SECOND, 0, 0, None, 1),
        # Five hours and a half late: 12:00 and five more are due.
        ("one", None, 5.5 * HOUR, 0, 5, 1, 6),
        ("one", HOUR, 5.5 * HOUR, 5, 5, 0, 6),
        ("one", 10 * MINUTE, 5.5 * HOUR, None, 6, 0, 6),
        ("skip", None, 5.5 * HOUR, None, 6, 0, 6),
        ("skip", HOUR, 5.5 * HOUR, 5, 5, 0, 6),
        ("all", None, 5.5 * HOUR, 0, 0, None, 1),
        ("all", 2 * HOUR, 5.5 * HOUR, 4, 4, 0, 5),
        ("all", 10 * MINUTE, 5.5 * HOUR, None, 6, 0, 6),
        # One comes just when it is over: that one is in time.
        ("skip", None, 5 * HOUR, 5, 5, 0, 6),
        # What is late by just the grace is not too late.
        ("one", HOUR, HOUR, 0, 1, 1, 2),
        ("one", HOUR, HOUR + timedelta(microseconds=1), 1, 1, 0, 2),
        # More than a hundred are due, by hour up to the 200th.
        ("all", None, 200 * HOUR, 101, 101, 0, 102),
        ("all", None, 99 * HOUR, 0, 0, None, 1),
        ("all", None, 100 * HOUR, 1, 1, 0, 2),
        ("all", 3 * HOUR, 200 * HOUR, 197, 197, 0, 198),
    ],
)  # fmt: skip
def test_what_an_outage_leaves(  # noqa: PLR0917  the columns of the table
    policy: str,
    grace: timedelta | None,
    late: timedelta,
    run: int | None,
    skipped: int,
    first_skipped: int | None,
    following: int,
) -> None:
    """By the hour, in hours after noon: ``one`` and ``skip`` run one, ``all`` goes on with the next."""
    decision = decide(HOURLY, NOON, NOON + late, policy, grace)
    in_hours = [None if at is None else (at - NOON) / HOUR for at in (decision.run, decision.first_skipped)]
    assert [*in_hours, decision.skipped] == [run, first_skipped, skipped]
    assert decision.next == NOON + following * HOUR


def test_the_last_occurrence_has_no_next() -> None:
    """A rule that is over has no next; a single time that is too late is skipped."""
    once = make(at=NOON)
    assert decide(once, NOON, NOON + DAY, "one", None) == misfire.Decision(NOON, 0, None, None)
    assert decide(once, NOON, NOON + DAY, "all", HOUR) == misfire.Decision(None, 1, NOON, None)
    assert decide(make(every=HOUR, end=NOON), NOON, NOON, "all", None).next is None


def test_what_is_early_is_in_time() -> None:
    """A decision that is asked for a moment early is the one for its own moment."""
    assert decide(HOURLY, NOON, NOON - SECOND, "skip", None) == decide(HOURLY, NOON, NOON, "skip", None)


def any_rule() -> st.SearchStrategy[Rule]:
    """Dense and sparse rules of each kind, some over changes of the clocks, some with an end."""
    spans = st.sampled_from([SECOND, 7 * SECOND, MINUTE, 90 * MINUTE, DAY, 31 * DAY])
    crons = st.sampled_from(["* * * * *", "*/7 2 * * *", "30 2 * * *", "0 0 1 * *", "* * * 12 SUN", "0 */5 29 * *"])
    rrules = st.sampled_from(["FREQ=HOURLY", "FREQ=DAILY;BYHOUR=2;BYMINUTE=0,30", "FREQ=MONTHLY;BYDAY=-1SU"])
    zones = st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago"])
    ends = st.none() | st.timedeltas(timedelta(0), 60 * DAY).map(lambda span: NOON + span)
    return st.one_of(
        st.builds(lambda every, end: rules.make(every=every, end=end, now=NOON - 99 * DAY), spans, ends),
        st.builds(
            lambda cron, zone, end: rules.make(cron=cron, zone=zone, end=end, now=NOON - 99 * DAY), crons, zones, ends
        ),
        st.builds(lambda rrule, zone: rules.make(rrule=rrule, zone=zone, now=NOON - 99 * DAY), rrules, zones),
    )


def up_to(rule: Rule, after: datetime, until: datetime) -> list[datetime]:
    """All times of a rule in a span, few enough to be counted."""
    return list(islice(takewhile(lambda at: at <= until, rule.following(after)), MOST_COUNTED))


@settings(max_examples=examples(150), deadline=None)
@given(
    rule=any_rule(),
    begin=st.timedeltas(timedelta(0), 120 * DAY),
    policy=st.sampled_from(POLICIES),
    grace=st.none() | st.timedeltas(SECOND, 3 * DAY),
    outages=st.lists(st.timedeltas(timedelta(0), HOUR) | st.timedeltas(timedelta(0), 3 * DAY), min_size=1, max_size=5),
)
def test_each_occurrence_is_run_or_skipped_once(
    rule: Rule, begin: timedelta, policy: str, grace: timedelta | None, outages: list[timedelta]
) -> None:
    """Over random outages each occurrence is run or skipped, once, in order, and none that is too late is run."""
    occurrence = rule.after(NOON + begin)
    limit = misfire.GRACE_OF_SKIP if grace is None and policy == "skip" else grace
    for outage in outages:
        if occurrence is None:
            break
        now, first, runs, skipped = occurrence + outage, occurrence, [], 0
        due = up_to(rule, first - rules.TICK, now)
        if len(due) == MOST_COUNTED:
            return
        while occurrence is not None and occurrence <= now:
            decision = decide(rule, occurrence, now, policy, grace)
            rest = up_to(rule, occurrence - rules.TICK, now)
            in_time = [at for at in rest if limit is None or now - at <= limit]
            if policy == "all":
                left = in_time[-MOST_CAUGHT_UP:]
                assert decision.run == (left[0] if left else None)
                assert decision.skipped == rest.index(decision.run) if decision.run else len(rest)
            else:
                in_time = in_time[:1] if occurrence in in_time else in_time[-1:]
                assert decision.run == (in_time[0] if in_time else None)
                assert decision.next is None or decision.next > now
            assert decision.next is None or decision.next > (decision.run or now)
            assert decision.first_skipped == next((at for at in rest if at != decision.run and decision.skipped), None)
            runs += [decision.run] if decision.run else []
            skipped += decision.skipped
            occurrence = decision.next
        assert len(runs) + skipped == len(due)
        assert sorted(set(runs)) == runs
        assert set(runs) <= set(due)
        assert occurrence == rule.after(now)


@pytest.mark.parametrize("due", [9_999, 10_000, 10_001, 10_099, 10_100, 10_101, 10_104, 10_300, 70_000])
def test_the_last_hundred_of_thousands(due: int) -> None:
    """However many are due, ``all`` runs the last hundred, a grace leaves those within it, and 10,000 are counted."""
    rule, now = make(every=SECOND), NOON + (due - 1) * SECOND
    caught_up = decide(rule, NOON, now, "all", None)
    assert (caught_up.run, caught_up.skipped) == (now - 99 * SECOND, min(due - 100, MOST_COUNTED))
    assert caught_up.next == now - 98 * SECOND
    graceful = decide(rule, NOON, now, "all", 5 * SECOND)
    assert (graceful.run, graceful.skipped) == (now - 5 * SECOND, min(due - 6, MOST_COUNTED))
    latest = decide(rule, NOON, now, "one", 5 * SECOND)
    assert (latest.run, latest.skipped, latest.first_skipped) == (now, min(due - 1, MOST_COUNTED), NOON)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("grace", [None, pytest.param(MINUTE, marks=pytest.mark.slow), 300 * DAY])
@pytest.mark.parametrize(
    "rule",
    [
        make(every=SECOND),
        make(cron="* * * * *", zone="Europe/Berlin"),
        make(cron="* * 1 1 *", zone="Pacific/Apia"),
        make(rrule=f"FREQ=HOURLY;BYMINUTE={EVERY_MINUTE}", zone="America/New_York"),
        make(rrule=f"FREQ=HOURLY;BYMINUTE={EVERY_MINUTE};COUNT=100000", start=NOON - 20 * DAY),
        make(rrule="FREQ=HOURLY;INTERVAL=2;COUNT=100000", start=NOON - 800 * DAY),
        make(rrule="FREQ=HOURLY;INTERVAL=5;COUNT=100000;BYHOUR=1,7", start=datetime(1900, 1, 3, tzinfo=UTC)),
    ],
    ids=lambda rule: rule.describe()[:40],
)
def test_a_year_down_takes_no_time(rule: Rule, policy: str, grace: timedelta | None) -> None:
    """After a year's outage of the densest rules a decision takes a moment, and counts up to 10,000."""
    occurrence = rule.after(NOON)
    assert occurrence is not None
    began = time.process_time()
    decision = decide(rule, occurrence, NOON + 365 * DAY, policy, grace)
    assert time.process_time() - began < 1
    assert decision.skipped <= MOST_COUNTED
    assert decision.skipped == MOST_COUNTED or "INTERVAL" in rule.spec or "* * 1 1 *" in rule.spec


@pytest.mark.parametrize(
    ("rule", "policy", "grace", "hours", "text"),
    [
        (HOURLY, "one", None, 5.5, "1 runs, 5 skipped"),
        (HOURLY, "skip", None, 5.5, "0 run, 6 skipped"),
        (HOURLY, "all", None, 5.5, "6 run, 0 skipped"),
        (HOURLY, "all", 2 * HOUR, 5.5, "2 run, 4 skipped"),
        (HOURLY, "all", None, 500, "100 run, 401 skipped"),
        (make(every=SECOND), "one", None, 24 * 365, "1 runs, 10,000 or more skipped"),
        (make(cron="0 3 * * *"), "one", None, 5, "0 run, 0 skipped"),
    ],
)
def test_a_preview_of_an_outage(rule: Rule, policy: str, grace: timedelta | None, hours: float, text: str) -> None:
    """An outage from noon on runs and skips what the decisions after it do, and says it in a sentence."""
    shown = preview(rule, policy, grace, NOON - DAY, 0, down=(NOON, NOON + hours * HOUR))
    assert (shown.text, len(shown.runs), shown.times) == (text, int(text.split(maxsplit=1)[0]), ())


@pytest.mark.parametrize("first", [datetime.min, datetime(2030, 1, 1)])  # noqa: DTZ001, DTZ901  UTC at once
def test_a_preview_of_any_outage(first: datetime) -> None:
    """An outage may be as long as the calendar, and is the same by any clock."""
    down = (first.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    shown = preview(make(every=DAY), "one", None, NOON, 0, down=down)
    assert (len(shown.runs), shown.text) == (1, "1 runs, 10,000 or more skipped")
    in_berlin = tuple(at.astimezone(ZoneInfo("Europe/Berlin")) for at in (NOON, NOON + 5 * HOUR))
    assert preview(HOURLY, "all", None, NOON, 0, down=(in_berlin[0], in_berlin[1])).runs[0] == NOON


def test_a_preview_of_what_comes() -> None:
    """The next times are those after now, fewer where the rule ends; without an outage nothing else is said."""
    assert preview(HOURLY, "one", None, NOON, 2) == misfire.Preview((NOON + HOUR, NOON + 2 * HOUR))
    assert preview(make(at=NOON), "one", None, NOON - HOUR, 9).times == (NOON,)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"policy": "none"}, 'misfire is "none". Allowed: one, skip, all'),
        ({"policy": ["one"]}, "misfire is"),
        ({"grace": timedelta(0)}, "grace is"),
        ({"grace": timedelta.max}, "grace is"),
        ({"grace": 60}, "grace is 60"),
        ({"n": -1}, "n is -1"),
        ({"n": 1_001}, "n is 1001"),
        ({"n": True}, "n is True"),
        ({"down": (NOON, NOON - HOUR)}, "down is"),
        ({"down": NOON}, "down is"),
        ({"down": (NOON, NOON.replace(tzinfo=None))}, "down is"),
        ({"down": (1, 2)}, "down is"),
    ],
)
def test_what_is_no_preview_is_refused(changed: dict[str, Any], problem: str) -> None:
    """A policy, a grace, a number or an outage that is none is refused with what is allowed."""
    asked: dict[str, Any] = {"policy": "one", "grace": None, "now": NOON, "n": 1} | changed
    with pytest.raises(InvalidSchedule, match="Allowed: ") as caught:
        preview(HOURLY, **asked)
    assert problem in str(caught.value)
