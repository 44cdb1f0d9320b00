"""Rows of django-celery-beat as schedules of ours: what each becomes, and what of it does not come along.

A crontab of beat's is written from the values that it matches, so that whatever Celery reads in a field (ranges that
wrap around, names) becomes cron's. Celery asks for both days, where cron takes either: such a crontab is an RRULE.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils.timezone import is_naive, make_aware

from durable_objects.delivery import beat
from durable_objects.errors import InvalidInput, InvalidSchedule
from durable_objects.recurrence import misfire, rules
from durable_objects.recurrence.rules import Rule
from durable_objects.validation import check_name

_DAYS = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")
#: The lowest and the highest value of each of cron's fields, by Celery's names for them.
_BOUNDS = {
    "minute": (0, 59),
    "hour": (0, 23),
    "day_of_month": (1, 31),
    "month_of_year": (1, 12),
    "day_of_week": (0, 6),
}
_OF_THE_MESSAGE = ("queue", "exchange", "routing_key", "priority", "headers")


@dataclass
class Carried:
    """What one row becomes. ``times`` are the arguments of ``schedules.set`` that say when, empty where none can be
    given, or none is to be; ``notes`` say why, and what does not come along. ``describe`` is the rule in words.
    """

    name: str
    task: str
    times: dict[str, Any] = field(default_factory=dict)
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    describe: str = ""


def read(now: datetime) -> list[Carried]:
    """Return what each of beat's rows becomes, by name. Raises what the database raises, without beat's tables too."""
    return [carried(row, now) for row in beat.periodic_tasks()]


def carried(row: Any, now: datetime) -> Carried:
    """Return what this row becomes."""
    found = Carried(row.name, row.task)
    if row.task == beat.TASK or row.task.startswith("celery."):
        found.notes.append("beat's own work, which stays there" if row.task != beat.TASK else "it is the dispatcher's")
        return found
    try:
        check_name(row.name)
        found.args, found.kwargs = _json(row.args, list, "args"), _json(row.kwargs, dict, "kwargs")
        times = {**_when(row), **_bounds(row)}
        found.describe = _rule(times, now).describe()
        misfire.check("one", times.get("grace"))
    except InvalidInput as error:
        found.notes.append(f"not set: {error}")
        return found
    found.notes += _notes(row, now)
    if row.enabled:
        found.times = times
    return found


def _rule(times: dict[str, Any], now: datetime) -> Rule:
    return rules.make(**{name: value for name, value in times.items() if name != "grace"}, now=now)


def _when(row: Any) -> dict[str, Any]:
    """Return the rule of the row's schedule. Raises ``InvalidSchedule`` where there is no such rule."""
    if row.clocked is not None:
        return {"at": _aware(row.clocked.clocked_time)}
    if row.interval is not None:
        return {"every": timedelta(**{row.interval.period: row.interval.every})}
    if row.crontab is not None:
        return _crontab(row.crontab)
    if row.solar is not None:
        raise InvalidSchedule(
            f"there is no rule for the sun ({row.solar}): leave it in beat, or set each time yourself"
        )
    raise InvalidSchedule("it has no schedule in beat either")


def _bounds(row: Any) -> dict[str, Any]:
    grace = {} if row.expire_seconds is None else {"grace": timedelta(seconds=row.expire_seconds)}
    if row.clocked is not None:
        return grace
    bounds = {"start": _aware(row.start_time), "end": _aware(row.expires)}
    return {**{name: moment for name, moment in bounds.items() if moment is not None}, **grace}


def _aware(moment: datetime | None) -> datetime | None:
    """Return the moment with its zone, which it lacks without USE_TZ."""
    return make_aware(moment) if moment is not None and is_naive(moment) else moment


def _crontab(row: Any) -> dict[str, Any]:
    try:
        matched = row.schedule
        values: dict[str, set[int]] = {name: {*getattr(matched, name)} for name in _BOUNDS}
    except Exception as error:  # Celery's parser has errors of its own, and others pass through it
        raise InvalidSchedule(f"Celery cannot read its crontab, {row}: {error}") from error
    fields = {name: _field(values[name], *bounds) for name, bounds in _BOUNDS.items()}
    zone = _zone(row)
    if any(fields[name].startswith("*") for name in ("day_of_month", "day_of_week")):
        return {"cron": " ".join(fields[name] for name in _BOUNDS), **zone}
    parts = {
        "FREQ": "DAILY",
        "BYMONTH": _listed(values["month_of_year"]) if fields["month_of_year"] != "*" else "",
        "BYMONTHDAY": _listed(values["day_of_month"]),
        "BYDAY": ",".join(_DAYS[day] for day in sorted(values["day_of_week"])),
        "BYHOUR": _listed(values["hour"]),
        "BYMINUTE": _listed(values["minute"]),
        "BYSECOND": "0",
    }
    return {"rrule": ";".join(f"{name}={text}" for name, text in parts.items() if text), **zone}


def _zone(row: Any) -> dict[str, str]:
    aware = getattr(settings, "DJANGO_CELERY_BEAT_TZ_AWARE", True)
    zone = str(row.timezone) if aware else str(getattr(settings, "CELERY_TIMEZONE", None) or "UTC")
    return {} if zone == "UTC" else {"zone": zone}


def _field(values: Collection[int], lowest: int, highest: int) -> str:
    """Return the text of a field of cron that matches these values."""
    ordered, every = sorted(values), range(lowest, highest + 1)
    for step in range(1, len(every)):
        if ordered == [*every[::step]]:
            return "*" if step == 1 else f"*/{step}"
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in _ranges(ordered))


def _ranges(ordered: list[int]) -> Iterator[tuple[int, int]]:
    first = last = ordered[0]
    for value in ordered[1:]:
        if value != last + 1:
            yield first, last
            first = value
        last = value
    yield first, last


def _listed(values: Collection[int]) -> str:
    return ",".join(map(str, sorted(values)))


def _notes(row: Any, now: datetime) -> Iterator[str]:
    if not row.enabled:
        yield "not set: it is disabled in beat"
    if row.expires is not None:
        yield "expires is the end of its times"
    if row.expire_seconds is not None:
        yield "expire_seconds is the grace: an occurrence that could not begin in time does not run"
    if row.clocked is not None and (at := _aware(row.clocked.clocked_time)) is not None and at <= now:
        yield "its time has passed: set now, it runs at once"
    if row.one_off and row.clocked is None:
        yield "one_off does not come along: let the method cancel the schedule once it has run"
    if row.crontab is not None and "rrule" in _crontab(row.crontab):
        yield "Celery asks for both day_of_month and day_of_week, where cron takes either: an RRULE says so"
    for name in _OF_THE_MESSAGE:
        value = getattr(row, name)
        if value not in (None, "", "{}"):
            yield f"{name} does not come along, it was {value}: a run is no message of its own"


def _json(text: str, kind: type[Any], what: str) -> Any:
    try:
        value = json.loads(text or ("[]" if kind is list else "{}"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"its {what} are no JSON: {error}") from error
    if not isinstance(value, kind):
        raise InvalidInput(f"its {what} are {value!r}, no {'list' if kind is list else 'object'}")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
