"""Parses the text of a recurrence: an RRULE and EXDATE lines of RFC 5545, in the subset that is allowed. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from durable_objects.errors import InvalidSchedule
from durable_objects.recurrence.rrule import FIRST_YEAR, LAST_YEAR, Parts
from durable_objects.recurrence.zones import find_zone
from durable_objects.validation import refusal, show

LONGEST_RULE = 4_000
MOST_TIMES = 100_000
LONGEST_INTERVAL = 99_999

RULE_ALLOWED = (
    'an RRULE of RFC 5545 on one line, such as "FREQ=DAILY;COUNT=5": each part once, FREQ by the hour or slower, at '
    f"most one BYSECOND, INTERVAL from 1 to {LONGEST_INTERVAL}, COUNT from 1 to {MOST_TIMES} or UNTIL in UTC "
    '("…T090000Z"), BYSETPOS beside another BY part; below it lines such as "EXDATE:20300602T090000" or '
    '"EXDATE;TZID=Europe/Berlin:20300602T090000"'
)

WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY")

_TIME = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})(Z?)")
_WEEKDAY = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_EXDATE = re.compile(r"EXDATE(?:;VALUE=DATE-TIME)?(?:;TZID=([\w/+-]+))?:([0-9TZ,]+)", re.IGNORECASE | re.ASCII)


class _No(ValueError):
    """Says what is wrong with a rule."""


@dataclass(frozen=True)
class RRule:
    """A parsed rule: its parts, how it ends, and what is left out of it. ``line`` is the rule as RFC 5545 has it, in
    capitals and without a name before it. ``unknown_zones`` are those whose EXDATE lines could not be read.
    """

    line: str
    parts: Parts
    count: int | None
    until: datetime | None
    wall_times_left_out: Collection[datetime]
    moments_left_out: Collection[datetime]
    unknown_zones: Collection[str] = ()

    @classmethod
    def parse(cls, text: str, *, on_record: bool = False, called: str = "rrule") -> Self:
        """Return the rule in this text. Raises ``InvalidSchedule``, naming the argument as it is ``called``.

        A rule that is ``on_record`` was accepted once: an EXDATE in a zone that is gone since is ignored, so that the
        rule goes on.
        """
        if type(text) is not str or len(text) > LONGEST_RULE:
            raise refusal(f"{called} is {show(text)}", RULE_ALLOWED, InvalidSchedule)
        lines = [line.strip(" \t\r") for line in text.split("\n")]
        first, *others = [line for line in lines if line] or [""]
        try:
            line = first.upper().removeprefix("RRULE:")
            given = _read(line)
            wall_times, moments, unknown = _left_out(others)
            if unknown and not on_record:
                raise _No(f"EXDATE is in the zone {show(min(unknown))}, which is not known here")
        except _No as flaw:
            raise refusal(f"{called} is {show(text)} ({flaw})", RULE_ALLOWED, InvalidSchedule) from None
        count, until = given.pop("count", None), given.pop("until", None)
        return cls(line, Parts(**given), count, until, wall_times, moments, unknown)

    def leaves_out(self, at: datetime, wall_time: datetime) -> bool:
        """Return whether an EXDATE names this time, by the wall clock or as a moment (to the second, as such dates
        are).
        """
        if not self.wall_times_left_out and not self.moments_left_out:
            return False
        wall_times, moments = self.wall_times_left_out, self.moments_left_out
        return wall_time.replace(tzinfo=None, microsecond=0) in wall_times or at.replace(microsecond=0) in moments


# -- the grammar


def _read(line: str) -> dict[str, Any]:
    """Return the parts of a rule by their fields. Raises ``_No``."""
    texts: dict[str, str] = {}
    for part in line.split(";"):
        name, _, text = part.partition("=")
        if name not in _PARTS:
            raise _No(f"{show(part)} is not a part of a rule")
        if name in texts:
            raise _No(f"{name} comes twice")
        texts[name] = text
    if "FREQ" not in texts:
        raise _No("it has no FREQ")
    for flaw in filter(None, (unfit(texts) for unfit in _UNFIT)):
        raise _No(flaw)
    return {field: read(name, texts[name]) for name, (field, read) in _PARTS.items() if name in texts}


def _one_of(choices: tuple[str, ...]) -> Callable[[str, str], str]:
    def read(name: str, text: str) -> str:
        if text not in choices:
            raise _No(f"{name} is {show(text)}: one of {', '.join(choices)}")
        return text

    return read


def _number(least: int, most: int) -> Callable[[str, str], int]:
    def read(name: str, text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,6}", text) or not least <= int(text) <= most:
            raise _No(f"{name} is {show(text)}: a number from {least} to {most}")
        return int(text)

    return read


def _numbers(least: int, most: int, *, signed: bool = False) -> Callable[[str, str], tuple[int, ...]]:
    """Return a reader of a list of numbers; ``signed`` ones may count from the end."""
    form = re.compile(rf"{'[+-]?' if signed else ''}[0-9]{{1,{len(str(most))}}}")

    def read(name: str, text: str) -> tuple[int, ...]:
        texts = text.split(",")
        if not all(form.fullmatch(each) and least <= abs(int(each)) <= most for each in texts):
            also = f" or -{most} to -{least}" if signed else ""
            raise _No(f"{name} is {show(text)}: numbers from {least} to {most}{also}")
        return tuple(map(int, texts))

    return read


def _weekdays(name: str, text: str) -> tuple[tuple[int, int], ...]:
    found = [_WEEKDAY.fullmatch(each) for each in text.split(",")]
    if not all(each and (each[1] is None or 1 <= abs(int(each[1])) <= 53) for each in found):
        raise _No(f"{name} is {show(text)}: weekdays such as MO, 2TU or -1FR")
    return tuple((int(each[1] or 0), WEEKDAYS.index(each[2])) for each in found if each)


def _week_start(name: str, text: str) -> int:
    return WEEKDAYS.index(_one_of(WEEKDAYS)(name, text))


def _until(name: str, text: str) -> datetime:
    moment, is_utc = _time(name, text)
    if not is_utc:
        raise _No(f"{name} is {show(text)}: a time in UTC, with a Z at its end")
    return moment.replace(tzinfo=UTC)


def _time(name: str, text: str) -> tuple[datetime, bool]:
    """Parse a time as it is written; return it without a zone, and whether it is in UTC. Raises ``_No``."""
    match = _TIME.fullmatch(text)
    try:
        if match:
            return datetime(*map(int, match.groups()[:6])), bool(match[7])  # type: ignore[arg-type]  # noqa: DTZ001  six numbers; the caller knows the zone
    except ValueError:
        pass  # a 31st of April
    raise _No(f"{name} is {show(text)}: a time such as 20300602T090000")


#: The parts that a rule may have: the field of each, and what reads it.
_PARTS: Mapping[str, tuple[str, Callable[[str, str], Any]]] = {
    "FREQ": ("frequency", _one_of(FREQUENCIES)),
    "INTERVAL": ("interval", _number(1, LONGEST_INTERVAL)),
    "COUNT": ("count", _number(1, MOST_TIMES)),
    "UNTIL": ("until", _until),
    "WKST": ("week_start", _week_start),
    "BYMONTH": ("months", _numbers(1, 12)),
    "BYWEEKNO": ("weeks", _numbers(1, 53, signed=True)),
    "BYYEARDAY": ("year_days", _numbers(1, 366, signed=True)),
    "BYMONTHDAY": ("month_days", _numbers(1, 31, signed=True)),
    "BYDAY": ("weekdays", _weekdays),
    "BYHOUR": ("hours", _numbers(0, 23)),
    "BYMINUTE": ("minutes", _numbers(0, 59)),
    "BYSECOND": ("seconds", _numbers(0, 59)),
    "BYSETPOS": ("positions", _numbers(1, 366, signed=True)),
}


def _only_with(part: str, *allowed: str) -> Callable[[Mapping[str, str]], str | None]:
    def unfit(texts: Mapping[str, str]) -> str | None:
        return (
            f"{part} does not go with FREQ={texts['FREQ']}" if part in texts and texts["FREQ"] not in allowed else None
        )

    return unfit


def _ordinal_days(texts: Mapping[str, str]) -> str | None:
    if not any(character.isdigit() for character in texts.get("BYDAY", "")):
        return None
    if texts["FREQ"] not in {"MONTHLY", "YEARLY"} or "BYWEEKNO" in texts:
        return "a BYDAY with a number goes with FREQ=MONTHLY, or FREQ=YEARLY without BYWEEKNO"
    return None


#: Checks of parts that exclude each other: each returns what is wrong, or None.
_UNFIT: tuple[Callable[[Mapping[str, str]], str | None], ...] = (
    lambda texts: "COUNT and UNTIL do not go together" if {"COUNT", "UNTIL"} <= texts.keys() else None,
    lambda texts: (
        "BYSETPOS takes another BY part"
        if "BYSETPOS" in texts and not any(name.startswith("BY") and name != "BYSETPOS" for name in texts)
        else None
    ),
    lambda texts: "more than one BYSECOND is more than one time a minute" if "," in texts.get("BYSECOND", "") else None,
    _only_with("BYWEEKNO", "YEARLY"),
    _only_with("BYYEARDAY", "YEARLY", "HOURLY"),
    _only_with("BYMONTHDAY", "YEARLY", "MONTHLY", "DAILY", "HOURLY"),
    _ordinal_days,
)


def _left_out(lines: list[str]) -> tuple[frozenset[datetime], frozenset[datetime], frozenset[str]]:
    """Return the wall times and the moments that EXDATE lines name, and the unknown zones in them. Raises ``_No``."""
    wall_times: set[datetime] = set()
    moments: set[datetime] = set()
    unknown: set[str] = set()
    for line in lines:
        match = _EXDATE.fullmatch(line)
        if match is None:
            raise _No(f"{show(line)} is not an EXDATE line")
        zone = find_zone(match[1]) if match[1] else None
        for text in match[2].upper().split(","):
            time, is_utc = _time("EXDATE", text)
            if is_utc and match[1]:
                raise _No(f"EXDATE is {show(text)}: a time with a TZID has no Z")
            if match[1] and zone is None:
                unknown.add(match[1])
            elif not FIRST_YEAR <= time.year <= LAST_YEAR:
                continue  # no occurrence is there
            elif is_utc or zone:
                moments.add(time.replace(tzinfo=UTC if is_utc else zone).astimezone(UTC))
            else:
                wall_times.add(time)
    return frozenset(wall_times), frozenset(moments), frozenset(unknown)
