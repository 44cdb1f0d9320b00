"""How a reminder repeats, as people choose it: a few choices, week days as boxes, else a rule of their own. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from durable_objects.formatting import short

CUSTOM = "custom"
WEEKLY = "FREQ=WEEKLY"
REPEATS = [
    ("", "Once"),
    ("FREQ=DAILY", "Every day"),
    ("FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR", "Every weekday"),
    (WEEKLY, "Every week"),
    ("FREQ=MONTHLY", "Every month"),
    ("FREQ=YEARLY", "Every year"),
    (CUSTOM, "By the rule below"),
]
DAYS = [("MO", "Mon"), ("TU", "Tue"), ("WE", "Wed"), ("TH", "Thu"), ("FR", "Fri"), ("SA", "Sat"), ("SU", "Sun")]
_ON_DAYS = f"{WEEKLY};BYDAY="


def on_days(days: Sequence[str]) -> str:
    """Return the rule for every week on these days; on the day of its first time where there are none."""
    chosen = [day for day, _ in DAYS if day in days]
    return _ON_DAYS + ",".join(chosen) if chosen else WEEKLY


def choice_of(rule: str | None) -> tuple[str, list[str]]:
    """Return the choice that makes this rule, and its week days; ``custom`` for any other."""
    known = {value for value, _ in REPEATS} - {CUSTOM}
    if (rule or "") in known:
        return rule or "", []
    days = _days_of(rule or "")
    return (WEEKLY, days) if days else (CUSTOM, [])


def describe(rule: str | None) -> str:
    """Describe a rule for a list: a choice of the form, week days, or the beginning of the rule; empty for none."""
    if not rule:
        return ""
    choice, days = choice_of(rule)
    if days:
        return f"Every {', '.join(dict(DAYS)[day] for day in days)}"
    return dict(REPEATS)[choice] if choice != CUSTOM else short(rule, 40)


def _days_of(rule: str) -> list[str]:
    days = rule.removeprefix(_ON_DAYS).split(",") if rule.startswith(_ON_DAYS) else []
    return days if set(days) <= {day for day, _ in DAYS} else []
