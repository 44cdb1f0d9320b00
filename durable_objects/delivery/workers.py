"""Which workers answer, from which queues do they consume, and do they work on our database? By remote control.

A worker may have remote control off, or be too busy to answer: that none answers proves nothing.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from typing import Any, NamedTuple

from celery import current_app
from django.db import connections

from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.database.installation import fingerprint
from durable_objects.delivery import brokers
from durable_objects.delivery.brokers import Flaw

#: How long workers may take to answer a question; all of it is waited for, since nobody knows how many there are.
SECONDS_TO_ANSWER = 1.0
#: How long a worker waits for its database before it answers without.
_SECONDS_FOR_DATABASE = 0.5
#: The tasks that run alarms: of one object, of several.
WAKE_UPS = ("durable_objects.fire_alarm", "durable_objects.fire_alarms")
_COMMAND = "durable_objects_installation"


class Listener(NamedTuple):
    """A worker that answered: the queues that it consumes from, and whether its database may be ours."""

    worker: str
    queues: frozenset[str]
    may_be_ours: bool = True


class Work(NamedTuple):
    """What the worker of this process has in hand: tasks that run, how long the longest has and for which object;
    ``taken``: wake-ups that it ever took.
    """

    busy: int = 0
    longest: timedelta | None = None
    longest_object: int | None = None
    taken: int = 0


def work_in_hand() -> Work:
    """Return what the worker of this process has in hand, in any pool; nothing where there is none."""
    state: Any = sys.modules.get("celery.worker.state")  # which only a worker loads
    if state is None:
        return Work()
    running = sorted((each for each in _now_in(state.active_requests) if each.time_start), key=_begun)
    taken = sum(state.total_count[task] for task in WAKE_UPS)
    if not running:
        return Work(taken=taken)
    return Work(len(running), timedelta(seconds=max(0.0, time.time() - _begun(running[0]))), _object(running[0]), taken)


def answer() -> None:
    """Let this worker answer which installation it works for."""
    from celery.worker.control import inspect_command  # only workers need what this imports

    @inspect_command(name=_COMMAND)
    def installation(state: Any) -> dict[str, str | None]:
        """Say which database durable objects are in here."""
        return {"installation": _own_within(_SECONDS_FOR_DATABASE)}


def listening(queues: Collection[str | None], seconds: float = SECONDS_TO_ANSWER) -> list[Listener]:
    """Return the workers that answer, and of those that consume from one of these queues whether they may be ours.

    Takes ``seconds``, a few times that at most; none answers where the broker has no remote control.
    """
    found = [
        Listener(worker, frozenset(str(queue["name"]) for queue in theirs))
        for worker, theirs in _ask("active_queues", seconds)
    ]
    asked = [each.worker for each in found if each.queues & {*queues}]
    ours = fingerprint() if asked else None
    if ours is None:
        return found
    answers = defaultdict(list)  # several workers of one name are a mistake that is made on one machine
    for worker, answered in _ask(_COMMAND, seconds, destination=sorted({*asked}), limit=len(asked)):
        answers[worker].append(answered.get("installation") or ours)
    return [each._replace(may_be_ours=not answers[each.worker] or answers[each.worker].pop() == ours) for each in found]


def nobody(queue: str, found: list[Listener]) -> Flaw | None:
    """Return that none of these workers consumes from the queue ("it"); None: one does, and it may be ours."""
    if any(queue in each.queues and each.may_be_ours for each in found):
        return None
    if not found:
        return Flaw(
            f"No worker answered within {SECONDS_TO_ANSWER:g} s.",
            f"{start(queue)} One without remote control does not answer, nor does a busy solo pool.",
        )
    some = f"None of the {len(found)} workers that answer consumes from it for this project."
    one = "The only worker that answers does not consume from it for this project."
    return Flaw(one if len(found) == 1 else some, f"{start(queue)} Or route the task to a queue that has one.")


def strangers(queue: str, found: list[Listener]) -> Flaw | None:
    """Return that a worker of another installation consumes from the queue, and drops what is ours; None: none does."""
    names = sorted({each.worker for each in found if queue in each.queues and not each.may_be_ours})
    if not names:
        return None
    return Flaw(
        f"{', '.join(names)} consumes from the queue {queue!r} and works on another database: wake-ups that it takes "
        "run nothing here until they are sent again, and the other way round.",
        "Give each project a broker of its own (a number at the end of a Redis URL, a vhost on RabbitMQ), or queues of "
        'other names: celery_settings(…, queue="shop-alarms", dispatch_queue="shop-dispatch").',
    )


def flaws_of(queue: str) -> list[Flaw] | None:
    """Return why no worker of ours takes what is sent to the queue, asking broker and workers: none if one does.

    None where nobody can be asked. Takes a second, and a few where the broker does not answer.
    """
    asked = [broker for broker in brokers.brokers() if broker.flaw() is None]
    if clock.fake is not None or not asked or any(broker.kind == "memory" for broker in asked) or brokers.app_flaw():
        return None
    silent = brokers.unreachable(asked, SECONDS_TO_ANSWER)
    if len(silent) == len(asked):
        away = "; ".join(f"{broker} ({why})" for broker, why in silent.items())
        return [Flaw(f"The broker does not answer: {away}.", "Start it, or correct CELERY_BROKER_URL.")]
    found = listening([queue])
    return [flaw for flaw in (nobody(queue, found), strangers(queue, found)) if flaw is not None]


def start(queue: str | None) -> str:
    """Name the command that starts a worker for this queue (None: for Celery's default queues)."""
    if any(broker.kind == "memory" for broker in brokers.brokers()):
        return "Start the process that has the worker inside: no other one can use memory://."
    return f"Start one with `celery -A PROJECT worker{f' -Q {queue}' if queue else ''}`."


def _ask(command: str, seconds: float, **how: Any) -> list[tuple[str, Any]]:
    """Return the workers' answers to a command of the remote control; a worker that refuses it has answered nothing."""
    found: list[dict[str, Any]] = []
    control = current_app.control  # of this thread, not of that one

    def broadcast() -> None:
        with suppress(Exception):  # then nobody answers
            control.broadcast(command, reply=True, timeout=seconds, callback=found.append, **how)

    brokers.wait_for([threading.Thread(target=broadcast, daemon=True)], 2 * seconds)  # each answer prolongs it
    answers = [each for answer in list(found) for each in answer.items()]
    return [(worker, answer) for worker, answer in answers if not (isinstance(answer, dict) and "error" in answer)]


def _now_in(requests: Any) -> list[Any]:
    """Return what is in a set that other threads change."""
    while True:
        with suppress(RuntimeError):
            return list(requests)


def _begun(request: Any) -> float:
    return float(request.time_start)


def _object(request: Any) -> int | None:
    """Return the object whose alarm a task runs; the first of a group; None for any other task."""
    if request.name not in WAKE_UPS or not request.args:
        return None
    first = request.args[0]
    first = first[0][0] if isinstance(first, list) and first else first
    return first if isinstance(first, int) else None


def _own_within(seconds: float) -> str | None:
    """Return the fingerprint, asked in a thread: a database that says nothing must not keep the worker."""
    found: list[str | None] = []

    def ask() -> None:
        with suppress(Exception):  # then it is not known
            found.append(fingerprint())
        connections[engine.DATABASE].close()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else None
