"""The rules of reminders: what RFC 5545 has, by a second reading of it; what is refused; what the slowest costs."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import HealthCheck, Phase, given, settings, target
from hypothesis import strategies as st

from durable_objects import InvalidInput
from durable_objects.recurrence.series import Place
from reminders.recurrence import Series
from tests.support.examples import examples
from tests.support.recurrence_by_counting import any_rules, any_starts, times

EXAMPLES = examples(100)
#: Years that the second reading goes through for each rule, and times that are compared.
WINDOW = timedelta(days=366 * 5)
AT_MOST = 30
#: Seconds of work that one question may take. Measured: 0.04 to 0.08 s for the slowest, on a busy machine.
SLOW = 0.4

EVERY_MINUTE = ",".join(map(str, range(60)))
EVERY_HOUR = ",".join(map(str, range(24)))
EVERY_PLACE = ",".join(map(str, range(-366, 0)))
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
IN_1970 = datetime(1970, 1, 2, tzinfo=UTC)

_settings = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


def walk(start: datetime, rule: str, end: datetime) -> list[datetime]:
    """Our times up to ``end``, each found from the place of the one before."""
    series = Series(start.replace(tzinfo=UTC), rule, "UTC")
    found: list[datetime] = []
    place = series.opening()
    while place is not None and len(found) < AT_MOST and place.at.replace(tzinfo=None) <= end:
        found.append(place.at.replace(tzinfo=None))
        place = series.following(place, place.at)
    return found


@pytest.mark.slow
@_settings
@given(rule=any_rules(), start=any_starts())
def test_every_rule_is_what_rfc_5545_says(rule: str, start: datetime) -> None:
    """Each rule of the grammar is taken, and its times are those of a second implementation of RFC 5545."""
    end = start + WINDOW
    assert walk(start, rule, end) == list(islice(times(rule, start, end), AT_MOST))


@pytest.mark.slow
@_settings
@given(rule=any_rules(ends=False), start=any_starts(), ahead=st.timedeltas(timedelta(0), timedelta(days=100)))
def test_the_next_time_is_the_same_from_anywhere(rule: str, start: datetime, ahead: timedelta) -> None:
    """What comes after any moment, looked for from near it, is what comes after it in the whole list, also by COUNT."""
    moment = start + ahead
    end = moment + timedelta(days=366)
    wanted = next((at for at in times(rule, start, end) if at > moment), None)
    for text in (rule, f"{rule};COUNT=100000"):
        found = Series(start.replace(tzinfo=UTC), text, "UTC").after(moment.replace(tzinfo=UTC))
        at = found.replace(tzinfo=None) if found else None
        assert at == wanted or (wanted is None and at is not None and at > end)


@pytest.mark.parametrize(
    ("rule", "start", "expected"),
    [
        # From the middle of a week, of which DTSTART has missed the first (dateutil counts from DTSTART on).
        ("FREQ=WEEKLY;BYDAY=MO,WE,FR;BYSETPOS=2", "2026-01-08", ["2026-01-14", "2026-01-21"]),
        ("FREQ=WEEKLY;BYDAY=MO,WE,FR;BYSETPOS=-1", "2026-01-07", ["2026-01-09", "2026-01-16"]),
        # On the start's weekday of that week (dateutil gives all seven days).
        ("FREQ=YEARLY;BYWEEKNO=20", "2026-01-06", ["2026-05-12", "2027-05-18"]),
        ("FREQ=YEARLY;BYWEEKNO=1;BYMONTH=1", "2026-01-06", ["2027-01-05", "2028-01-04"]),
        # Examples of RFC 5545, 3.8.5.3.
        ("FREQ=MONTHLY;BYDAY=TU,WE,TH;BYSETPOS=3;COUNT=3", "1997-09-04", ["1997-09-04", "1997-10-07"]),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", "1997-09-02", ["1998-02-13", "1998-03-13"]),
        ("FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8", "1996-11-05",
         ["1996-11-05", "2000-11-07"]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SU;WKST=SU", "1997-08-05", ["1997-08-05", "1997-08-17"]),
    ],
)  # fmt: skip
def test_rules_that_other_readers_get_wrong(rule: str, start: str, expected: list[str]) -> None:
    """Positions are counted in whole weeks; a week of the year without a weekday is the start's weekday in it."""
    at_nine = datetime.fromisoformat(f"{start}T09:00:00")
    found = [at.date().isoformat() for at in walk(at_nine, rule, at_nine + timedelta(days=3000))]
    assert [day for day in found if day >= expected[0]][:2] == expected


@pytest.mark.parametrize(
    "rule",
    [
        f"FREQ=HOURLY;BYMINUTE={EVERY_MINUTE};BYSECOND={EVERY_MINUTE}", "FREQ=DAILY;BYSECOND=0,30", "FREQ=MINUTELY",
        "FREQ=SECONDLY", "FREQ=DAILY;BYSECOND=60",
        "FREQ=DAILY;COUNT=+3", "FREQ=DAILY;COUNT=0", "FREQ=DAILY;COUNT=-1", "FREQ=DAILY;COUNT=99999999999999999999",
        "FREQ=DAILY;COUNT=100001", "FREQ=DAILY;COUNT=\u0663", "FREQ=DAILY;COUNT=1_0", "FREQ=DAILY;COUNT=",
        "FREQ=DAILY;COUNT= 3", "FREQ=DAILY;COUNT=3;COUNT=4", "FREQ=DAILY;FREQ=WEEKLY", "FREQ=DAILY;BYHOUR=1;BYHOUR=2",
        "FREQ=DAILY;COUNT=3;UNTIL=20300101T000000Z", "FREQ=DAILY;UNTIL=20300101", "FREQ=DAILY;UNTIL=20300101T000000",
        "FREQ=DAILY;UNTIL=20301301T000000Z", "FREQ=DAILY;UNTIL=20300101T000060Z",
        "FREQ=DAILY;INTERVAL=0", "FREQ=DAILY;INTERVAL=-1", "FREQ=DAILY;INTERVAL=+2", "FREQ=DAILY;INTERVAL=1000000",
        "COUNT=3", "", "FREQ=", "FREQ=DAILY;", ";FREQ=DAILY", "FREQ=DAILY;;COUNT=3", "FREQ=DAILY COUNT=3", "DAILY",
        "FREQ=DAILY;BYDAY=1MO", "FREQ=WEEKLY;BYDAY=-1MO", "FREQ=YEARLY;BYWEEKNO=2;BYDAY=1MO", "FREQ=MONTHLY;BYDAY=0MO",
        "FREQ=MONTHLY;BYDAY=54MO", "FREQ=MONTHLY;BYDAY=MO,", "FREQ=MONTHLY;BYDAY=XX", "FREQ=MONTHLY;BYDAY=+MO",
        "FREQ=WEEKLY;BYMONTHDAY=1", "FREQ=MONTHLY;BYWEEKNO=3", "FREQ=DAILY;BYYEARDAY=3", "FREQ=MONTHLY;BYYEARDAY=3",
        "FREQ=WEEKLY;BYYEARDAY=3", "FREQ=DAILY;BYSETPOS=1", "FREQ=HOURLY;BYSETPOS=2", "FREQ=DAILY;BYHOUR=1;BYSETPOS=0",
        "FREQ=DAILY;BYHOUR=1;BYSETPOS=367", "FREQ=MONTHLY;BYMONTHDAY=0", "FREQ=MONTHLY;BYMONTHDAY=32",
        "FREQ=YEARLY;BYMONTH=0", "FREQ=YEARLY;BYMONTH=13", "FREQ=YEARLY;BYMONTH=-1", "FREQ=YEARLY;BYMONTH=+1",
        "FREQ=DAILY;BYHOUR=24", "FREQ=DAILY;BYHOUR=-1", "FREQ=HOURLY;BYMINUTE=60", "FREQ=YEARLY;BYWEEKNO=54",
        "FREQ=YEARLY;BYYEARDAY=367", "FREQ=YEARLY;BYEASTER=0", "FREQ=DAILY;WKST=1", "FREQ=DAILY;X-FOO=1",
        "FREQ=DAILY\nRDATE:20300101T000000Z", "FREQ=DAILY\nEXDATE:20300101", "FREQ=DAILY\nEXDATE:20300101T000000,",
        "FREQ=DAILY\nEXDATE;TZID=Nowhere/At_All:20300101T000000", "FREQ=DAILY\nFREQ=WEEKLY",
        "FREQ=DAILY\nEXDATE;TZID=Europe/Berlin:20300101T000000Z", "FREQ=DAILY\u2028EXDATE:20300101T000000",
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused(rule: str) -> None:
    """What the grammar does not have, or would come more than once a minute, is refused with what is allowed."""
    with pytest.raises(InvalidInput, match="Allowed: an RRULE of RFC 5545"):
        Series(NOW, rule, "UTC")


@pytest.mark.parametrize("rule", ["rrule:freq=daily;count=3", "FREQ=DAILY;COUNT=003\r\n\r\nEXDATE:20300101T000000\r\n"])
def test_case_and_line_ends_do_not_matter(rule: str) -> None:
    """A rule is read in small letters, after its name, and with the line ends of any machine."""
    assert len(list(Series(NOW, rule, "UTC").places())) == 3


def test_a_time_left_out_in_a_zone_of_its_own() -> None:
    """EXDATE;TZID= names a moment by the clocks of that zone, whatever zone the series goes by."""
    rule = "FREQ=DAILY;COUNT=4\nEXDATE;TZID=America/New_York:20260328T040000\nEXDATE;VALUE=DATE-TIME:20260329T090000"
    start = datetime(2026, 3, 27, 8, tzinfo=UTC)
    assert [place.at.day for place in Series(start, rule, "Europe/Berlin").places()] == [27, 30]


#: The slowest rules that were found.
SLOWEST = [
    "FREQ=HOURLY;INTERVAL=2;COUNT=100000",
    "FREQ=HOURLY", f"FREQ=HOURLY;BYMINUTE={EVERY_MINUTE}", "FREQ=HOURLY;COUNT=100000",
    f"FREQ=HOURLY;BYMINUTE={EVERY_MINUTE};COUNT=100000", "FREQ=DAILY;COUNT=100000",
    "FREQ=HOURLY;INTERVAL=25;BYHOUR=3",
    "FREQ=HOURLY;INTERVAL=24;BYHOUR=5", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "FREQ=DAILY;INTERVAL=14;BYDAY=TU",
    "FREQ=WEEKLY;BYSETPOS=3;BYDAY=MO,TU", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYSETPOS=366",
    "FREQ=MONTHLY;INTERVAL=99999", "FREQ=YEARLY;INTERVAL=99999", "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO",
    f"FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYHOUR={EVERY_HOUR};BYMINUTE={EVERY_MINUTE};BYSETPOS={EVERY_PLACE}",
    "FREQ=WEEKLY;BYMONTH=2;BYSETPOS=7;BYDAY=MO,TU,WE,TH,FR,SA,SU;INTERVAL=53;COUNT=100000",
]  # fmt: skip


@pytest.mark.parametrize("rule", SLOWEST)
def test_no_rule_is_slow(rule: str) -> None:
    """Setting, previewing and going on from 1970 take a bounded time for every rule, with and without a COUNT."""
    assert _cost(rule) < SLOW


@pytest.mark.slow
@_settings
@given(
    rule=any_rules(ends=False),
    interval=st.sampled_from(["", ";INTERVAL=24", ";INTERVAL=53", ";INTERVAL=400", ";INTERVAL=99999"]),
    count=st.sampled_from(["", ";COUNT=100000"]),
)
def test_a_search_for_slow_rules_finds_none(rule: str, interval: str, count: str) -> None:
    """Led by the cost, Hypothesis looks for a rule that takes long; there is none."""
    cost = _cost(rule + ("" if "INTERVAL" in rule else interval) + count)
    target(cost, label="seconds")
    assert cost < SLOW


@pytest.mark.bench
def test_what_the_slowest_rules_cost() -> None:
    """The figures of docs/guides/reminders.md, printed (``-s``): the slowest of these and TEST_EXAMPLES random ones."""
    worst: dict[str, tuple[float, str]] = {}
    rules: list[str] = []

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @given(rule=any_rules(ends=False), more=st.sampled_from(["", ";COUNT=100000"]))
    def draw(rule: str, more: str) -> None:
        rules.append(rule + more)

    draw()
    dearest = []
    for rule in SLOWEST + rules:
        costs = _costs(rule)
        dearest.append(max(costs.values()))
        for question, cost in costs.items():
            worst[question] = max(worst.get(question, (0.0, "")), (cost, rule))
    print(f"\n{len(SLOWEST)} rules by hand, {len(rules)} random ones, each from 1970; milliseconds of work:")
    for question, (cost, rule) in worst.items():
        print(f"  {question}: {cost * 1000:.1f}  {rule[:100]}")
    median = sorted(dearest[len(SLOWEST) :])[len(rules) // 2]
    print(f"  the dearest question of the random rule in the middle: {median * 1000:.2f}")
    assert max(cost for cost, _ in worst.values()) < SLOW


def _cost(rule: str) -> float:
    """The seconds of work of the dearest question about a rule from 1970."""
    return max(_costs(rule).values())


def _costs(rule: str) -> dict[str, float]:
    """The seconds of work of each question about a rule from 1970: what setting, a preview and going on ask."""
    costs: dict[str, float] = {}
    place: Place | None = None
    for question in ("set", "preview", "after", "next"):
        began = time.process_time()
        series = Series(IN_1970, rule, "America/St_Johns")
        if question == "set":
            place = series.opening()
        elif question == "preview":
            series.preview(5, NOW)
        elif question == "after":
            series.after(NOW)
        elif place is not None:
            series.following(place, NOW)
        costs[question] = time.process_time() - began
    return costs
