"""The callers: a process that orders and cancels wake-ups and posts items, until it is ended.

``python -m tests.chaos.storm.load PLAN``. PLAN is JSON: ``rate`` (orders per second), ``subjects`` (how many),
``items`` (per second; none without ``web``, the address), ``token``, ``dead`` (may retries be used up?). Each
call is written down before it is made, and then what the caller was told: ``ok``, ``refused`` (nothing was changed),
``unknown`` (the database or the web server went away), or ``failed`` (anything else, which nobody should be told).
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
import httpx

from tests.chaos.storm import record, special_load

#: What a subject may have to do, and how often of a hundred.
PLANS: list[tuple[int, dict[str, Any]]] = [
    (49, {}),
    (16, {"pause": 0.2}),
    (15, {"again": 5}),
    (6, {"fail": 1}),
    (5, {"fail": 1, "again": 1, "pause": 0.1}),
    (3, {"fail": 2}),
    (3, {"hang": 0.3}),
    (2, {"pause": 2.0, "fail": 1}),
    (1, {"pause": 7.0}),
]
DEAD = {"fail": 99}
QUICK = 100
#: The share of orders that are for later: workers hold their messages until then.
FAR = 0.1
#: What the driver may ask for, by the names of files and of methods.
WISHES = ("burst", "poison", "far", "busy", "endings", "savepoints", "sessions")


#: Of callers that come later: each has one of its own, since it names its calls.
_NUMBERS = itertools.count(100)


class Undone(Exception):
    """The caller changed its mind: its transaction is rolled back."""


class Caller:
    """One thread of callers, with a source of chance of its own."""

    def __init__(self, plan: dict[str, Any], number: int) -> None:
        self.plan, self.chance = plan, random.Random()
        self.made, self.name = 0, f"{os.getpid()}.{number}"

    def order_for_ever(self) -> None:
        """Order, move, cancel, change one's mind, at the given rate."""
        while True:
            self._at_the_rate(self.plan["rate"] / self.plan["threads"], self._order)

    def add_for_ever(self) -> None:
        """Post items over HTTP."""
        headers = {"Authorization": f"Bearer {self.plan['token']}"}
        with httpx.Client(base_url=self.plan["web"], headers=headers, timeout=10, trust_env=False) as client:
            while True:
                self._at_the_rate(self.plan["items"], lambda: self._add(client))

    def burst(self) -> None:
        """One slow handler beside a hundred quick ones, all due at once."""
        self._call("set", _subject("slow"), 1.0, {"hang": 5})
        for number in range(QUICK):
            self._call("set", _subject(f"quick{number}"), 1.0, {})

    def poison(self) -> None:
        """An alarm that kills the process that runs it, twice."""
        self._call("set", _subject(f"poison{self.chance.randrange(10)}"), 0.0, {"poison": 2})

    def far(self) -> None:
        """Twice as many alarms on their way as may be out, which set themselves again."""
        for number in range(20):
            self._call("set", _subject(f"again{number}"), 1.0, {"again": 2, "ahead": 8})

    def busy(self) -> None:
        """Two callers have an object in turn, for seconds each, while its alarm is due; for a third of a minute."""
        subject = _subject(f"busy{self.chance.randrange(10)}")
        self._call("set", subject, 1.0, {})
        end = time.monotonic() + 20

        def hold(caller: Caller) -> None:
            while time.monotonic() < end:
                caller._call("hold", subject, caller.chance.uniform(1, 2))

        for _ in range(2):
            threading.Thread(target=hold, args=(Caller(self.plan, next(_NUMBERS)),), daemon=True).start()

    def endings(self) -> None:
        """Handlers that end with what is no ``Exception``."""
        for number, name in enumerate(("CancelledError", "SystemExit", "GeneratorExit") * 2):
            self._call(
                "set",
                _subject(f"ending{number}"),
                0.5,
                {"fail": 1, "by": name} | ({"pause": 0.2} if number > 2 else {}),
            )

    def savepoints(self) -> None:
        """Handlers and callers that go back to a savepoint made by hand."""
        for number in range(6):
            self._call("set", _subject(f"undo{number}"), 0.5, {"undo": 1} | ({"fail": 1} if number > 3 else {}))
            self._call("undo", _subject(f"undid{number}"))

    def sessions(self) -> None:
        """Handlers that leave their session of the database otherwise than they found it."""
        for number, what in enumerate(("read only", "isolation", "idle time-out") * 3):
            self._call("set", _subject(f"session{number}"), 0.5, {"leave": what})

    def _at_the_rate(self, rate: float, do: Callable[[], None]) -> None:
        began = time.monotonic()
        do()
        time.sleep(max(0.0, began + self.chance.uniform(0.5, 1.5) / rate - time.monotonic()))

    def _order(self) -> None:
        chance = self.chance
        if special := special_load.orders(chance):
            for what, name, arguments in special:
                self._call(what, _subject(name), *arguments)
            return
        if chance.random() < FAR:
            plan = chance.choice([{}, {}, {"again": 1, "ahead": 15}])
            self._call("set", _subject(f"far{chance.randrange(300)}"), chance.uniform(10, 50), plan)
            return
        brief = chance.random() < 0.02
        number = chance.randrange(self.plan["subjects"])
        subject = _subject(f"brief{number % 10}" if brief else f"subject{number}")
        what = chance.choices(["set", "move", "cancel", "undone"], [82, 7, 7, 4])[0]
        seconds = chance.uniform(-0.5, 2.5)
        if what == "cancel":
            self._call("cancel", subject)
        elif what == "move":
            self._call("move", subject, seconds)
        else:
            weights, plans = zip(*PLANS, strict=True)
            plan = chance.choices(plans, weights)[0]
            if brief:
                plan = {"hang": chance.choice([0, 4])}
            elif self.plan.get("dead") and chance.random() < 0.01:
                plan = DEAD
            self._call(what, subject, seconds, plan)

    def _call(self, what: str, subject: Any, *arguments: Any) -> None:
        from django.db import transaction

        def do(call: str) -> dict[str, Any]:
            if what != "undone":
                return {"number": getattr(subject, what)(call, *arguments)}
            with transaction.atomic():
                subject.set(call, *arguments)
                raise Undone

        self._record({"op": what, "object": subject.name}, do)
        if subject.pk:
            record.note("known", id=subject.pk, object=subject.name)

    def _add(self, client: httpx.Client) -> None:
        batcher = self.chance.randrange(self.plan["batchers"])

        def do(item: str) -> dict[str, Any]:
            client.post(f"/batcher/batcher{batcher}", json=item).raise_for_status()
            return {"item": item}

        self._record({"op": "item"}, do)

    def _record(self, said: dict[str, Any], do: Callable[[str], dict[str, Any]]) -> None:
        from django.db import Error, close_old_connections

        from durable_objects import ObjectBusy

        self.made += 1
        call = f"{self.name}.{self.made}"
        close_old_connections()
        record.note("call", id=call, **said)
        try:
            record.note("ok", id=call, **said, **do(call))
        except (ObjectBusy, Undone):
            record.note("refused", id=call)
        except (Error, httpx.HTTPError) as error:
            record.note("unknown", id=call, error=repr(error)[:200])
            time.sleep(0.2)
        except Exception as error:  # noqa: BLE001  whatever it is, the checker wants to know
            record.note("failed", id=call, error=repr(error)[:200])


def follow(steps: list[list[Any]]) -> None:
    """Make these calls, each so many seconds after the first: ``[seconds, "set", "name", in_seconds, plan]``.

    ``[seconds, "pause", "name", for_seconds]`` goes on beside the others.
    """
    caller, began = Caller({}, 0), time.monotonic()
    for seconds, what, name, *arguments in steps:
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        if what == "pause":
            threading.Thread(target=special_load.pause, args=(_subject, name, *arguments)).start()
            continue
        caller._call(what, _subject(name), *arguments)


def _subject(name: str) -> Any:
    from tests import models

    return getattr(models, special_load.kind_of(name)).objects.get_by_name(name)


def work(plan: dict[str, Any]) -> None:
    """Start the callers, and do what the driver asks for by files."""
    for number in range(plan["threads"]):
        threading.Thread(target=Caller(plan, number).order_for_ever, daemon=True).start()
    threading.Thread(target=special_load.pause_for_ever, args=(_subject, random.Random()), daemon=True).start()
    if plan.get("web"):
        threading.Thread(target=Caller(plan, plan["threads"]).add_for_ever, daemon=True).start()
    own = Caller(plan, 99)
    while True:
        for wish in WISHES:
            if (file := Path(record.FOLDER) / wish).exists():
                file.unlink()
                getattr(own, wish)()
        time.sleep(0.1)


if __name__ == "__main__":
    django.setup()
    work(json.loads(sys.argv[1]))
