"""Why an alarm ran when it did, why it has not run yet, and what happens next: in sentences, from the tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from durable_objects.alarms import backoff, pauses
from durable_objects.alarms.lateness import stages_of
from durable_objects.alarms.predicates import (
    is_awaited,
    is_dead,
    is_due,
    is_forgotten,
    is_late,
    is_leased,
    is_left_behind,
    is_overdue,
    is_retrying,
    is_waiting,
)
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.database.backends import backend_of
from durable_objects.delivery import brokers, workers
from durable_objects.delivery.brokers import Flaw
from durable_objects.formatting import absolute, class_of, gist, is_known, is_traceback, relative, span
from durable_objects.models import as_handle
from durable_objects.operations import limits, schedules
from durable_objects.operations.delivery_state import DeliveryState
from durable_objects.operations.pauses import sentence
from durable_objects.tables import Alarm, AlarmRun, Object, Pause, Process, Schedule
from durable_objects.validation import show


class Status(NamedTuple):
    """The state of an alarm in one word, and in a sentence."""

    word: str
    sentence: str


@dataclass(frozen=True)
class Step:
    """A moment of a run: ``took`` is the time since the step before it (or since due), ``share`` who spent it."""

    what: str
    at: datetime
    took: timedelta | None = None
    share: str = ""


@dataclass(frozen=True)
class Explanation:
    """How the alarm stands, why, what comes next, the last run step by step; whether a pause of its own holds it."""

    status: Status
    why: list[str]
    next: list[str]
    run: AlarmRun | None
    slot: Alarm | None = None
    schedules: list[Schedule] = field(default_factory=list)
    paused_by_itself: bool = False

    @property
    def steps(self) -> list[Step]:
        """The last run's moments; none if there was no run."""
        return steps_of(self.run) if self.run else []

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON: times in ISO 8601, spans in seconds."""
        run = self.run and {
            "outcome": self.run.outcome,
            "retry_count": self.run.retry_count,
            "error": gist(self.run.error),
            "steps": [
                asdict(step) | {"at": step.at.isoformat(), "took": step.took and step.took.total_seconds()}
                for step in self.steps
            ],
        }
        return {**self.status._asdict(), "why": self.why, "next": self.next, "last_run": run}


#: Says what keeps workers from taking what is sent to a queue: nothing, some flaws, or None where it cannot be asked.
Ask = Callable[[str], list[Flaw] | None]

_LOCKED = "The object is locked right now: its alarm, or a call on it, is running. A wake-up waits for the lock."


def explain(
    row: Object, now: datetime, *, ask: Ask | None = None, newest: Sequence[AlarmRun] | None = None
) -> Explanation:
    """Explain the object's alarm at ``now`` from its slot and its history. A handful of queries, no lock.

    Only with ``ask``, which may take seconds, are broker and workers asked, and only where they may be the reason.
    ``newest``: the object's last runs, newest first, where they were read before.
    """
    slot = getattr(row, "alarm_row", None)  # no query for a row selected with it
    runs = AlarmRun.objects.using(engine.DATABASE).filter(object_id=row.pk).order_by("-id")
    handle = as_handle(row)
    known, held = is_known(row), pauses.of_object(row.pk, row.kind_id, now)
    limit = limits.held_back(handle, now) if handle and slot and is_due(slot, now) else None
    status = status_of(slot, now, known=known, paused=bool(held), limited=limit is not None)
    run = next(iter(runs[:1] if newest is None else newest), None)
    retries = handle.alarm_max_retries if handle else None
    why: list[str] = []
    if slot is None or status.word == "idle":
        following = ["Nothing, until the object's code sets an alarm or an operator runs it."]
    elif status.word == "running":
        why, following = _running(slot, now)
    elif status.word == "dead":
        last_dead = runs.filter(outcome=AlarmRun.Outcome.DEAD).first()
        why, following = _dead(slot, last_dead, now)
    elif not known:
        why = [f"No class {class_of(row)}: a worker that has it will run this alarm; until then no retry is counted."]
        following = ["Deploy the class again, rename its content type, or cancel the alarm."]
    elif handle is None:
        why = [f"No object can have the name {show(row.name)}: the engine did not write the row, and no run can begin."]
        following = ["Cancel the alarm or delete the object; or give its row another name by SQL."]
    elif held:
        following = [_after_pause(held)]
    else:
        locked = [_LOCKED, *_locked_by(slot)] if _locked([slot], now) else []
        why, following = _armed_because(slot, DeliveryState(now), locked, retries, None if limit else ask)
        if limit is not None:
            why, following = [limit[0], *why], [limit[1]]
        elif ask is None and _is_with_workers(slot, now):
            following.append("`manage.py alarms explain` asks the broker and the workers as well.")
        if run and run.outcome == AlarmRun.Outcome.SNOOZED and run.scheduled_at == slot.scheduled_at:
            why.append(f"Its last run {gist(run.error)}")
    planned = schedules.first_of(row.pk)
    why += schedules.sentences(planned, now)
    why[:0] = [sentence(each, now) for each in held]
    by_itself = any(each.scope == Pause.Scope.OBJECT for each in held)
    return Explanation(status, why, following, run, slot, planned, by_itself)


def steps_of(run: AlarmRun) -> list[Step]:
    """Return the run's moments in order, each with the time since the one before and what spent it."""
    took = stages_of(run)
    steps = [Step("planned", run.scheduled_at)]
    if run.due_at != run.scheduled_at:
        steps.append(Step("due", run.due_at, None, "a retry, moved or revived"))
    if run.wake_up_for is not None:
        ahead = "" if run.wake_up_for > run.due_at else " (ahead of its time)"
        steps.append(Step("sent", run.wake_up_for, took.dispatch, f"dispatch{ahead}"))
    share = "broker and queue" if run.wake_up_for else "dispatch, broker and queue: when it was sent is not on record"
    steps.append(Step("picked up", run.picked_up_at, took.queue, share))
    steps.append(Step("started", run.started_at, took.lock, "lock"))
    steps.append(Step("ended", run.ended_at, run.ended_at - run.started_at, "handler"))
    return steps


def status_of(alarm: Alarm | None, now: datetime, *, known: bool, paused: bool, limited: bool) -> Status:
    """Return the state of an object's alarm. ``known``: whether this code has its class; ``parked`` if not.
    ``paused``: whether a pause holds the object; ``limited``: whether its class has reached its limits.
    """
    if alarm is None or not (is_awaited(alarm) or is_dead(alarm) or is_leased(alarm, now)):
        return Status("idle", "No alarm is set." if alarm else "No alarm was ever set.")
    if is_leased(alarm, now):
        return Status("running", "A run is in unlocked(). Its worker keeps the object by a lease, and renews it.")
    if is_dead(alarm):
        return Status("dead", _died_of(alarm))
    due = alarm.wake_at or now
    if known and paused:
        return Status("paused", f"Due {relative(due, now)}, and not before its pause is over.")
    if known and limited and due <= now:
        return Status("limited", f"Due for {span(now - due)}: it waits for its turn, since its class has limits.")
    return _armed(alarm, due, now, known)


def _died_of(slot: Alarm) -> str:
    """Say why no retry comes. What was given up has a reason where what failed has a traceback."""
    if is_traceback(slot.last_error) or not slot.last_error:
        return "Its retries are used up."
    return f"Given up, so no retry comes: {gist(slot.last_error).rstrip('.')}."


def why_late(slots: Collection[Alarm], delivery: DeliveryState) -> dict[int, str]:
    """Say by object, in a sentence each, what delays these overdue alarms. Names no host and no object: anyone may
    read it. As many queries for many as for one.
    """
    general = " ".join(each for each in (delivery.trouble, *delivery.workers.obstacles()) if each)
    locked = frozenset() if general else _locked(slots, delivery.now)

    def why(slot: Alarm) -> str:
        if not is_known(slot.object):
            return f"No class {class_of(slot.object)}."
        return general or _armed_because(slot, delivery, [_LOCKED] if slot.pk in locked else [])[0][0]

    return {slot.pk: why(slot) for slot in slots}


def _armed(alarm: Alarm, due: datetime, now: datetime, known: bool) -> Status:
    if not known:
        return Status("parked", f"Due {relative(due, now)}, but this code does not have its class: left alone.")
    if is_overdue(alarm, now):
        return Status("overdue", f"Should have run {relative(due, now)}.")
    if due <= now:
        return Status("due", f"Due for {span(now - due)}.")
    if is_retrying(alarm):
        return Status("retrying", f"Failed runs: {alarm.retry_count}. The next try is {relative(due, now)}.")
    return Status("armed", f"Runs {relative(due, now)}.")


def _is_with_workers(slot: Alarm, now: datetime) -> bool:
    """Return whether a wake-up is out that a worker should have taken by now."""
    is_out = slot.wake_up_for is not None and not is_forgotten(slot) and not is_left_behind(slot, now)
    return is_out and (slot.wake_at or now) <= now


def _armed_because(
    slot: Alarm, delivery: DeliveryState, locked: list[str], retries: int | None = None, ask: Ask | None = None
) -> tuple[list[str], list[str]]:
    """Say why an armed alarm has not run, and what comes next. ``locked``: sentences on who has the object locked."""
    now, obstacle = delivery.now, brokers.obstacle()
    due = slot.wake_at or now
    why, following = [delivery.trouble] if delivery.trouble else [], []
    if due <= now and not locked:
        why += delivery.workers.obstacles()
    if due > now + engine.HORIZON:
        why.append(f"It is further away than HORIZON ({span(engine.HORIZON)}), so only the database knows of it yet.")
        following.append(f"A dispatcher sends its wake-up from {absolute(due - engine.HORIZON)} on.")
    elif slot.leased_until is not None and is_left_behind(slot, now):
        since = relative(slot.leased_until, now)
        why.insert(0, f"The lease of its run ended {since}: the worker is gone, or it hangs.")
        why.append(f"The worker was {slot.leased_by or 'one whose name is not on record'}.")
        following.append("A dispatcher sends a wake-up again, and the new run takes over.")
    else:
        flaws = [obstacle] if obstacle else _asked(slot, None if locked else ask)  # locked: a worker has it, perhaps
        where, comes = _wake_up(slot, due, delivery, flaws)
        why += [where, *(flaw.text for flaw in flaws or [] if flaw is not obstacle)]
        following += [*(flaw.advice for flaw in flaws or []), *([comes] if comes else [])]
    if obstacle:
        why.append(obstacle.text)
    why[:0] = locked
    if slot.crashed_starts:
        crashed = f"Runs that started and never ended (the worker crashed or was killed): {slot.crashed_starts}"
        why.append(f"{crashed}; after {backoff.MAX_CRASHED_STARTS} the alarm is dead.")
    if slot.retry_count:
        of = f" of {retries}" if retries is not None else ""
        why.append(f"This is retry {slot.retry_count}{of}; the last run failed: {gist(slot.last_error)}")
    return why, following


def _asked(slot: Alarm, ask: Ask | None) -> list[Flaw] | None:
    """Return what is wrong with the queue that the wake-up was sent to, by broker and workers; None: none was asked."""
    if ask is None or slot.wake_up_for is None or is_forgotten(slot):
        return None
    with suppress(brokers.RouteFailed):  # which the sentence on the wake-up reports
        queue = brokers.queue(slot.pk, slot.wake_up_number)
        return ask(queue) if queue else None
    return None


def _wake_up(slot: Alarm, due: datetime, delivery: DeliveryState, flaws: list[Flaw] | None) -> tuple[str, str | None]:
    """Say where the wake-up's message is, and what happens next. With something in ``flaws`` no worker takes it; with
    nothing in it one has answered; with None the workers' heartbeats say whether there are any.
    """
    now = delivery.now
    is_taken = not (delivery.workers.are_gone if flaws is None else flaws)
    if slot.wake_up_for is None:
        return _not_out(slot, due, delivery)
    if is_forgotten(slot):
        return f"Wake-up {slot.wake_up_number} is to be sent again.", _next_pass()
    lost_at = slot.wake_up_for + backoff.lost_after(slot.wake_ups_lost)
    number = slot.wake_up_number
    again = f" Sent again so far: {slot.wake_ups_lost} times." if slot.wake_ups_lost else ""
    listens = "" if flaws is None or flaws else " A worker that consumes from it has answered."
    where = again + _where_to(slot) + listens
    if is_late(slot, now):
        lost = f"Wake-up {number} has counted as lost for {span(now - lost_at)}: no worker has taken it.{again}"
        if flaws is None:
            return lost + _where_to(slot, ": does a worker consume from it?"), _sent_again(slot, delivery)
        return lost + _where_to(slot) + listens, _next_pass() if flaws else _sent_again(slot, delivery)
    if is_waiting(slot, now) or due > now:
        holder = "the broker or in a worker" if is_taken else "the broker"
        return (
            f"Wake-up {number} is out, and waits for its time in {holder}.{where}",
            f"A worker runs it {relative(max(due, slot.wake_up_for), now)}." if is_taken else None,
        )
    out_for = span(now - slot.wake_up_for)
    holder = ": the broker has it, or a worker that is busy" if is_taken else ", and no worker has taken it"
    return (
        f"Wake-up {number} has been out for {out_for}{holder}.{where}",
        f"A worker takes it; if none has by {absolute(lost_at)}, a dispatcher sends it again."
        if is_taken
        else f"If no worker takes it by {absolute(lost_at)}, a dispatcher sends it again.",
    )


def _where_to(slot: Alarm, end: str = ".") -> str:
    try:
        queue = brokers.queue(slot.pk, slot.wake_up_number)
    except brokers.RouteFailed as error:
        return f" None can be sent: {error}."
    return f" It goes to {'an exchange' if queue is None else f'the queue {queue!r}'}{end}"


def _is_a_worker_running(slot: Alarm) -> str:
    queue = None
    with suppress(brokers.RouteFailed):
        queue = brokers.queue(slot.pk, slot.wake_up_number)
    return f"is a worker running? {workers.start(queue)}"


def _next_pass() -> str:
    return f"The next dispatcher's pass sends one (every {span(engine.DISPATCH_EVERY)})."


def _not_out(slot: Alarm, due: datetime, delivery: DeliveryState) -> tuple[str, str]:
    """Say why no wake-up is out, and when one is sent."""
    now, found, none = delivery.now, delivery.backlog, "No wake-up is out for it."
    if due > now and not found.capacity_early:
        full = f"{none} MAX_OUT ({engine.MAX_OUT:,}) wake-ups wait ahead of their time already."
        return full, f"Each pass sends at least {found.share} more, earliest first; once due, it goes before those."
    if due <= now and not found.capacity:
        full = f"{none} MAX_OUT ({engine.MAX_OUT:,}) wake-ups are out that no worker has taken yet"
        if not found.has_consumer:
            return f"{full}: {_is_a_worker_running(slot)}", "A dispatcher sends it once a worker has taken one."
        return f"{full}.", "A dispatcher sends it once workers have taken some of them, the longest overdue first."
    return none, _next_pass()


def _sent_again(slot: Alarm, delivery: DeliveryState) -> str:
    """Say when a wake-up that counts as lost is sent again."""
    found = delivery.backlog
    unconsumed = found.consumed_to is None or (slot.wake_up_for is not None and slot.wake_up_for >= found.consumed_to)
    if unconsumed and any(not each.is_small for each in found.unconsumed.values()):
        return (
            f"No worker has taken anything sent since then: {_is_a_worker_running(slot)} One alarm of each class is "
            "sent again after 10, 20 … 300 s, and all others once a worker takes one."
        )
    return _next_pass()


def _running(slot: Alarm, now: datetime) -> tuple[list[str], list[str]]:
    until = slot.leased_until or now
    why = [f"Leased by {slot.leased_by or 'a worker'} until {absolute(until)} ({relative(until, now)})."]
    running = Process.objects.using(engine.DATABASE).filter(process=slot.leased_by, busy_with=slot.pk).first()
    if running is not None and running.busy_since is not None:
        since = running.busy_since
        why.insert(0, f"Running since {absolute(since)} ({relative(since, now)}), in a thread of {running.process}.")
    if slot.leased_generation != slot.generation:
        why.append("The alarm was set or deleted during the run; that stands when the run ends.")
    following = [
        "The run ends. If its worker is gone, the lease runs out at that time, and a dispatcher sends a wake-up again."
    ]
    return why, following


def _after_pause(held: list[Pause]) -> str:
    """Say when a paused alarm runs."""
    ends = [pause.until for pause in held if pause.until is not None]
    by_itself = len(ends) == len(held)
    when = f"From {absolute(max(ends))} on, or once it is resumed before," if by_itself else "Once it is resumed,"
    return (
        f"{when} the next pass sends its wake-up when it is due (a pass is made every {span(engine.DISPATCH_EVERY)})."
    )


def _dead(slot: Alarm, run: AlarmRun | None, now: datetime) -> tuple[list[str], list[str]]:
    since = f"Dead since {absolute(run.ended_at)} ({relative(run.ended_at, now)})" if run else "Dead"
    error = gist(slot.last_error) or "no error is on record"
    why = [f"{since}, at retry {slot.retry_count}: {error}"]
    return why, ["Nothing runs until it is revived, or the object's code sets another alarm."]


def _locked(slots: Collection[Alarm], now: datetime) -> frozenset[int]:
    """Return which of these that are due a transaction has locked, without waiting; none where nobody can tell."""
    conn, keys = clock.connection(), [slot.pk for slot in slots if is_due(slot, now)]
    locked = backend_of(conn).locked_rows(Object._meta.db_table, keys) if keys and not conn.in_atomic_block else ()
    return frozenset(locked)


def _locked_by(slot: Alarm) -> list[str]:
    """Name the session that has the object's row locked, as far as this one may see it."""
    row = backend_of(clock.connection()).locked_by(Object._meta.db_table, slot.pk)
    if row is None:
        return []
    pid, application, client, since = row
    who = f"Database session {pid}" + (f" of {application!r}" if application else "")
    return [f"{who} from {client or 'the same machine'} has it, in a transaction that began {span(since)} ago."]
