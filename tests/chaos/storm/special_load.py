"""What callers ask of classes with schedules and with limits; and an operator who pauses and resumes, at random."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tests.chaos.storm import record

#: One call: what of which object, with what.
Order = tuple[str, str, list[Any]]

#: The share of orders that are for objects with schedules, with ``alarm_concurrency``, with ``alarm_rate``.
SHARES = {"scheduled": 0.10, "few": 0.05, "paced": 0.03}
#: How many there are of each. An object's schedule is as its number says, so that it is often set again as it is.
OBJECTS = 6
#: Rules end at whole multiples of this, one to two of them ahead.
SECONDS_OF_A_RULE = 20
POLICIES: tuple[dict[str, Any], ...] = ({}, {"misfire": "skip", "grace": 2}, {"misfire": "all"})
#: What a schedule calls does, and how often of a hundred. The last only once: it kills its process.
TICKS: list[tuple[int, dict[str, Any]]] = [
    (40, {}),
    (14, {"pause": 0.2}),
    (12, {"fail": 1}),
    (8, {"fail": 1, "pause": 0.1}),
    (8, {"hang": 0.3}),
    (6, {"pause": 2.5}),
    (7, {"again": 1}),
    (3, {"give up": 1}),
    (2, {"poison": 1}),
]
LIMITED = [{}, {"pause": 0.5}, {"hang": 0.4}, {"fail": 1}]

#: What is paused, and how often of a hundred: classes, and objects of them.
PAUSED = [
    (25, "ScheduledSubject"), (15, "FewSubject"), (10, "PacedSubject"), (5, "Subject"),
    (25, "scheduled"), (16, "subject"), (4, record.EVERYTHING),
]  # fmt: skip
#: A pause ends by itself after so long, should nobody be left to resume.
SECONDS_OF_A_PAUSE = 12.0


def kind_of(name: str) -> str:
    """The class of the object of this name."""
    kinds = {"scheduled": "ScheduledSubject", "few": "FewSubject", "paced": "PacedSubject", "brief": "BriefSubject"}
    return kinds.get(name.rstrip("0123456789"), "Subject")


def orders(chance: random.Random) -> list[Order]:
    """Orders for one of these classes, or none: then it is the turn of the others."""
    drawn = chance.random()
    for prefix, share in SHARES.items():
        if drawn < share:
            if prefix == "scheduled":
                return [_scheduled(chance)]
            times = 4 if chance.random() < 0.2 else 1
            return [_limited(chance, prefix) for _ in range(times)]
        drawn -= share
    return []


def _limited(chance: random.Random, prefix: str) -> Order:
    plan = chance.choice(LIMITED if prefix == "few" else [{}, {"fail": 1}])
    return "set", f"{prefix}{chance.randrange(OBJECTS)}", [chance.uniform(-0.5, 1), plan]


def _scheduled(chance: random.Random) -> Order:
    number = chance.randrange(OBJECTS)
    name, what = (
        f"scheduled{number}",
        chance.choices(["every", "cron", "once", "unschedule", "set", "cancel"], [36, 4, 25, 10, 20, 5])[0],
    )
    weights, plans = zip(*TICKS, strict=True)
    if what == "every":
        end = (int(time.time()) // SECONDS_OF_A_RULE + 2) * SECONDS_OF_A_RULE
        when = {"every": 1 + number % 3, "end": end, **POLICIES[number // 2 % 3]}
        plan = chance.choices(plans[:-1], weights[:-1])[0] if chance.random() < 0.5 else {}
        return "schedule", name, ["often", when, plan]
    if what == "cron":
        end = (int(time.time()) // 60 + 2) * 60
        return "schedule", name, ["minutely", {"cron": "* * * * *", "every": 60, "end": end}, {}]
    if what == "once":
        when = {chance.choice(["after", "at"]): chance.uniform(-1, 3)}
        return "schedule", name, [f"once{chance.randrange(2)}", when, chance.choices(plans, weights)[0]]
    if what == "unschedule":
        return what, name, [chance.choice(["often", "minutely", "once0", "once1"])]
    return what, name, [chance.uniform(-0.5, 2.5), chance.choice([{}, {"pause": 0.2}])] if what == "set" else []


def pause_for_ever(find: Callable[[str], Any], chance: random.Random) -> None:
    """Pause, let what runs end, resume."""
    weights, names = zip(*PAUSED, strict=True)
    while True:
        name = chance.choices(names, weights)[0]
        if name in ("scheduled", "subject"):
            name += str(chance.randrange(OBJECTS if name == "scheduled" else 20))
        pause(find, name, chance.uniform(0.5, 3))
        time.sleep(chance.uniform(0.5, 3))


def pause(find: Callable[[str], Any], name: str, seconds: float) -> None:
    """Pause this class or object for so long, from when nothing of it runs any more; each step is written down."""
    from django.db import Error, close_old_connections

    from durable_objects import DurableObjectError
    from durable_objects.operations import pauses
    from tests import models

    close_old_connections()
    record.note("pausing", target=name, seconds=SECONDS_OF_A_PAUSE)
    try:
        what = None if name == record.EVERYTHING else getattr(models, name, None) or find(name)
        pauses.pause(what, until=timedelta(seconds=SECONDS_OF_A_PAUSE))
        if pauses.drain(what, timedelta(seconds=8)):
            record.note("paused", target=name)
            time.sleep(seconds)
        record.note("resuming", target=name)
        pauses.resume(what)
    except (Error, DurableObjectError) as error:  # the database went away; never used, or the pause is over already
        record.note("no pause", target=name, error=repr(error)[:200])
        time.sleep(0.2)
    except Exception as error:  # noqa: BLE001  whatever it is, the checker wants to know
        record.note("failed", id=f"pause of {name}", error=repr(error)[:200])
