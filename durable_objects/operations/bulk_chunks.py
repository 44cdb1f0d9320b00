"""Does operations, chunk by chunk: 200 objects in one transaction where the verb allows it, else each in its own.

What is done to an object commits together with the operation's figures and with how far it has come. So whoever takes
over from a worker that was killed does no object twice and counts none twice; and a worker that was only paused is
refused when it wakes up, since ``fence`` has moved on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from django.db import transaction

from durable_objects.conf import engine
from durable_objects.database import clock, connection
from durable_objects.database.backends.base import Limits
from durable_objects.database.errors import is_connection_lost
from durable_objects.delivery import bulk_operations
from durable_objects.delivery.bulk_operations import ASKED_AGAIN_AFTER
from durable_objects.errors import ClassUnknown, DurableObjectError, RunSuperseded
from durable_objects.formatting import class_name, label
from durable_objects.handler_errors import formattable, is_failure, named
from durable_objects.kinds import content_types
from durable_objects.logs import about, get_logger
from durable_objects.models import DurableObject, as_handle
from durable_objects.operations import bulk, bulk_log, bulk_person, bulk_verbs, outage, pauses
from durable_objects.operations.bulk import RUNNING
from durable_objects.operations.parked import Parked
from durable_objects.operations.selection import Selection
from durable_objects.tables import Object, Operation
from durable_objects.turns import calls
from durable_objects.turns.bulk import BulkTransaction
from durable_objects.turns.handle import Handle
from durable_objects.turns.turn import Turn

logger = get_logger(__name__)

#: Objects of a chunk, and primary keys that are read at once.
CHUNK, KEYS_READ = 200, 5_000
#: A worker goes on for so long, and then asks for another: no thread is taken up for the whole of a long operation.
SECONDS_PER_WORKER = 10.0
#: How long one object's change, or those of a chunk, may take.
TIME_LIMIT = timedelta(minutes=1)
#: Failures that are kept with the operation.
FAILURES_KEPT = 20

_STORED = ("done", "skipped", "failed", "failures", "cursor", "pending")


class _TakenOver(Exception):
    """Somebody else does this operation now: nothing that this worker still does may count."""


class _Alone(Exception):
    """An object of the chunk cannot share a transaction: each is done alone."""


@dataclass(frozen=True)
class _Progress:
    """What is stored with each change; ``log`` is who it was done to since the last time."""

    done: int
    skipped: int
    failed: int
    failures: list[dict[str, Any]]
    cursor: int
    pending: list[int]
    log: list[bulk_log.Done] = field(default_factory=list)

    def with_done(self, row: Object, outcome: object) -> _Progress:
        """Return it with one more object that was done, or with False skipped."""
        if outcome is False:
            return replace(self, skipped=self.skipped + 1)
        what = outcome if isinstance(outcome, str) else ""
        return replace(self, done=self.done + 1, log=[*self.log, bulk_log.Done(row.kind_id, row.pk, row.name, what)])

    def with_failure(self, row: Object, error: BaseException) -> _Progress:
        """Return it with one more object that failed."""
        text = str(error) if isinstance(error, DurableObjectError) else named(error)
        kind = class_name(content_types().get_for_id(row.kind_id))
        failure = {"object": row.pk, "class": kind, "name": label(row.name), "error": text[:1_000]}
        return replace(self, failed=self.failed + 1, failures=[*self.failures, failure][:FAILURES_KEPT])


def drive(
    pk: int,
    number: int,
    *,
    seconds: float = SECONDS_PER_WORKER,
    watch: Callable[[Operation], None] = lambda operation: None,
) -> Operation | None:
    """Take the operation up and go on with it for so long; then ask a worker for the rest. ``watch`` sees each chunk.

    Return it as it then stands; None where it is not to be taken up under this number: it was stopped, or another
    worker has it.
    """
    operation = _take(pk, number)
    if operation is None:
        return None
    worker = _Worker(operation)
    end = clock.monotonic() + seconds
    try:
        while worker.is_wanted():
            begun = clock.monotonic()
            if not worker.do_chunk():
                worker.finish()
                break
            watch(worker.operation)
            if not worker.wait(begun, end):
                break
    except _TakenOver:
        return None
    except DurableObjectError as error:  # of the whole: its class or its verb is gone, say
        worker.halt(str(error))
    return bulk.get(pk)


def _take(pk: int, number: int) -> Operation | None:
    now, rows = clock.now(), Operation.objects.using(engine.DATABASE)
    mine = rows.filter(pk=pk, fence=number, state=RUNNING)
    if not mine.update(fence=number + 1, beat_at=now, ask_at=now + engine.LEASE):
        return None
    rows.filter(pk=pk, started_at=None).update(started_at=now)
    return bulk.get(pk)


class _Worker:
    """One that has taken an operation up, until another one does."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self._keys: list[int] = []
        self._rows = Operation.objects.using(engine.DATABASE).filter(pk=operation.pk, fence=operation.fence)
        self._log = bulk_log.Log(operation)
        self._selection: Selection | None = None

    def is_wanted(self) -> bool:
        """Return whether it is to go on: nobody has stopped it. Raises ``_TakenOver``."""
        state = self._rows.values_list("state", flat=True).first()
        if state is None:
            raise _TakenOver
        return state == RUNNING

    def do_chunk(self) -> bool:
        """Do the next objects; return whether there were any. Raises ``DurableObjectError`` where whoever the operation
        runs for may not do it any more.
        """
        operation = self.operation
        verb = bulk_verbs.get(operation.verb)
        # Once: a class of which the last object is deleted on the way is unknown afterwards.
        self._selection = self._selection or Selection.parse(operation.selection, now=operation.asked_at)
        keys, fresh = self._next_keys()
        if not keys and not operation.pending:
            return False
        if refusal := bulk_person.refusal(operation):
            raise DurableObjectError(refusal)
        for key in [*operation.pending]:
            self._do_alone(verb, key, operation.cursor)
        if not keys:
            return False
        still = (
            keys
            if fresh
            else list(bulk.matching(operation, self._selection).filter(pk__in=keys).values_list("pk", flat=True))
        )
        if not (verb.together and self._do_together(verb, sorted(still), keys)):
            for key in keys:
                self._do_alone(verb, key, key, skip=key not in still)
        for key in [*operation.pending]:
            self._do_alone(verb, key, operation.cursor)
        return True

    def wait(self, begun: float, end: float) -> bool:
        """Keep to the rate before the next chunk; return False, with another worker asked, if that takes too long."""
        pause = 0.0
        if self.operation.rate:
            pause = max(0.0, begun + self._size() / self.operation.rate - clock.monotonic())
        if clock.monotonic() + pause < end:
            time.sleep(pause)
            return True
        delay = timedelta(seconds=pause)
        if self._rows.filter(state=RUNNING).update(ask_at=clock.now() + delay + ASKED_AGAIN_AFTER):
            bulk_operations.ask(self.operation.pk, self.operation.fence, delay)
        return False

    def finish(self) -> None:
        """Note that all of it is done, resume what its plan has paused, start what waited for it."""
        now, operation = clock.now(), self.operation
        with transaction.atomic(using=engine.DATABASE):  # a worker that dies here has not ended it
            if not self._rows.filter(state=RUNNING).update(state=bulk.DONE, ended_at=now, ask_at=None):
                return
            if operation.resumes and not outage.spread_again(operation, now):
                begun = operation.asked_at if operation.plan_id is None else bulk.get(operation.plan_id).asked_at
                for kind_id in operation.resumes:  # what somebody has paused since is not the plan's
                    pauses.resume(content_types().get_for_id(kind_id), stood_at=begun)
            bulk.follow(operation, now)
        extra = about("operation_done", done=operation.done, failed=operation.failed)
        logger.warning("operation %s is done", operation.pk, extra=extra)

    def halt(self, why: str) -> None:
        """Stop it for a reason that no next try would mend."""
        self._rows.filter(state=RUNNING).update(state=bulk.STOPPED, error=why, ask_at=None)
        logger.error("operation %s stopped: %s", self.operation.pk, why, extra=about("operation_stopped"))

    def _size(self) -> int:
        rate = self.operation.rate
        return CHUNK if rate is None else max(1, min(CHUNK, int(rate)))

    def _next_keys(self) -> tuple[list[int], bool]:
        """Return the next primary keys, and whether they were read just now."""
        fresh = not self._keys
        if fresh:
            rows = bulk.matching(self.operation, self._selection).order_by("pk")
            self._keys = list(rows.values_list("pk", flat=True)[:KEYS_READ])
        size = self._size()
        keys, self._keys = self._keys[:size], self._keys[size:]
        return keys, fresh

    def _do_together(self, verb: bulk_verbs.BulkVerb, still: list[int], keys: Sequence[int]) -> bool:
        """Do these in one transaction; return False, with nothing done, where one of them cannot be done with others.

        Those that somebody has locked become ``pending``.
        """
        conn = clock.connection()
        few = self.operation.total <= engine.MAX_OUT  # of more, the dispatcher knows how many may be out
        try:
            with connection.leaving_nothing(conn), BulkTransaction(_limits(), sends_wake_ups=few) as together:
                progress = self._change_all(verb, together, still)
                missed = len(keys) - len(still)
                progress = replace(progress, cursor=keys[-1], skipped=progress.skipped + missed)
                self._store(progress)
        except _TakenOver:
            raise
        except BaseException as error:
            if not is_failure(error) or is_connection_lost(conn, error):
                raise
            return False
        self._take_over(progress)
        return True

    def _change_all(self, verb: bulk_verbs.BulkVerb, transaction: BulkTransaction, keys: list[int]) -> _Progress:
        progress, seen = self._progress(), set[int]()

        def handle_of(object_id: int, kind_id: int, name: str) -> Handle | None:
            nonlocal progress
            seen.add(object_id)
            handle = _handle_of(row := Object(pk=object_id, kind_id=kind_id, name=name))
            if verb.needs_class and isinstance(handle, Parked):
                progress = progress.with_failure(row, _unknown())
                return None
            return handle

        if not keys:
            return progress
        where = f"id IN ({', '.join(['%s'] * len(keys))})"
        for turn in transaction.lock(where, keys, handle_of, skip_locked=True):
            transaction.turns.append(turn)
            with turn.running():
                turn.start()
                outcome = verb.act(turn, self.operation)
            if turn.must_run_alone or turn.deleted:
                raise _Alone
            progress = progress.with_done(_row_of(turn), outcome)
        return replace(progress, pending=[key for key in keys if key not in seen])

    def _do_alone(self, verb: bulk_verbs.BulkVerb, key: int, cursor: int, *, skip: bool = False) -> None:
        """Do it in a turn of its own; it is not pending any more."""
        base = self._progress()
        base = replace(base, cursor=cursor, pending=[each for each in base.pending if each != key])
        gone = replace(base, skipped=base.skipped + 1)
        row = None if skip else Object.objects.using(engine.DATABASE).filter(pk=key).first()
        if row is None:
            self._store_alone(gone)
            return
        handle = _handle_of(row)

        def change() -> _Progress:
            with calls.enter(handle) as turn:
                progress = base.with_done(row, verb.act(turn, self.operation))
                self._store(progress)
                return progress

        try:
            if verb.needs_class and isinstance(handle, Parked):
                raise _unknown()
            self._take_over(calls.run(handle, change, key))
        except _TakenOver:
            raise
        except RunSuperseded:  # it was deleted meanwhile
            self._store_alone(gone)
        except BaseException as error:
            if not is_failure(error) or is_connection_lost(clock.connection(), error):
                raise
            text = "operation %s: %s failed for object %s"
            logger.warning(text, self.operation.pk, verb.name, key, exc_info=formattable(error))
            self._store_alone(base.with_failure(row, error))

    def _progress(self) -> _Progress:
        row = self.operation
        return _Progress(row.done, row.skipped, row.failed, row.failures, row.cursor, row.pending)

    def _store_alone(self, progress: _Progress) -> None:
        self._store(progress)
        self._take_over(progress)

    def _store(self, progress: _Progress) -> None:
        """Store it in the open transaction. Raises ``_TakenOver`` where the operation is another worker's by now."""
        now = clock.now()
        figures = {name: getattr(progress, name) for name in _STORED}
        if not self._rows.update(**figures, beat_at=now, ask_at=now + engine.LEASE):
            raise _TakenOver
        self._log.record(progress.log)

    def _take_over(self, progress: _Progress) -> None:
        """Go on from there, now that it is committed."""
        for name in _STORED:
            setattr(self.operation, name, getattr(progress, name))
        self.operation.beat_at = clock.now()


def _work(pk: int, number: int) -> str:
    operation = drive(pk, number)
    return "not taken" if operation is None else str(operation.state)


def _limits() -> Limits:
    return Limits(engine.LOCK_TIMEOUT, TIME_LIMIT)


def _handle_of(row: Object) -> DurableObject | Parked:
    return as_handle(row) or Parked(row)


def _row_of(turn: Turn) -> Object:
    return Object(pk=turn.object_id, kind_id=turn.handle.kind_pk(), name=turn.handle.name)


def _unknown() -> ClassUnknown:
    return ClassUnknown("this code does not have its class, or no object can have its name")


bulk_operations.register_work(_work)
