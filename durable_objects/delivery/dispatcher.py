"""One bounded pass: send wake-ups for what is due soon and for what got lost, prune the history.

Any number of dispatchers may run at once: each takes rows that no other has, and what is published twice runs once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from durable_objects import failpoints
from durable_objects.alarms import history, limits, pauses
from durable_objects.class_attributes import ObjectClass
from durable_objects.conf import engine
from durable_objects.database import clock
from durable_objects.delivery import backlog, bulk_operations, claims, limited, processes, publisher

#: Seconds between two prunings of the history, and how many of a pass one may take; what is left is next pass's.
PRUNE_EVERY = 60.0
PRUNE_FOR = 1.0

#: The pause between passes of a dispatcher that is behind, and when it stops if none of its wake-ups is consumed.
SECONDS_BETWEEN_PASSES = 0.02
SECONDS_WITHOUT_PROGRESS = 0.3

NEVER = float("-inf")
_last_pruned = NEVER
_pruning = history.Pruning()


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass did: wake-ups sent, how many of them were rescues of lost ones, runs pruned from the history.

    ``behind``: more is to be sent as soon as some of these have been consumed. ``probes``: how many of them were sent
    only to find out whether there is a consumer.
    """

    published: int = 0
    rescued: int = 0
    pruned: int = 0
    behind: bool = False
    probes: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the figures by name."""
        return {"published": self.published, "rescued": self.rescued, "pruned": self.pruned}

    def __add__(self, later: Pass) -> Pass:
        """Return the sum of both passes; ``behind`` is the later one's."""
        return Pass(
            self.published + later.published,
            self.rescued + later.rescued,
            self.pruned + later.pruned,
            later.behind,
            self.probes + later.probes,
        )


def run_pass(limit: int | None = None, *, share: bool = True, between: bool = False) -> Pass:
    """Send wake-ups for at most ``limit`` alarms (default: what ``MAX_OUT`` allows). Raises what the database raises.

    At most ``MAX_OUT`` wake-ups of due alarms are out, and as many wait for their time; those that calls send are
    counted, but not limited. So that they cannot take all the capacity, each pass sends at least a tenth of ``MAX_OUT``
    of either kind, however many are out (``share``: a pass that is made before its time does not). Without a consumer,
    only ``MAX_OUT`` in all, and then one of each class after 10, 20 … 300 s, until one is consumed. Of classes with
    limits only those that have a place (``limited``). Of what is due, what has waited longest comes first, never sent
    or lost; ``between`` two passes of one that is behind, looking for
    what is lost takes too long to do each time: what was never sent comes first then.

    Does nothing while no consumer can be reached, the broker being private to a process without a worker. Where a
    message could not be sent a moment ago, it begins with a single one, and goes on only when that gets through.
    """
    if not clock.connection().in_atomic_block:  # that of a test case is not ours to close
        clock.connection().close_if_unusable_or_obsolete()
    made = _make_pass(limit, share, between)
    if publisher.has_consumer():
        bulk_operations.ask_again(clock.now())
        processes.sign(clock.now(), refused=publisher.is_broken())
    return made


def catch_up(limit: timedelta, *, share: bool = True) -> Pass:
    """Pass again and again while there is more to send than may be out at a time, for at most ``limit``.

    Ends early when there seems to be no consumer: this process may be the one that should consume.
    """
    whole, end = Pass(), time.monotonic() + limit.total_seconds()
    progress = time.monotonic()
    while True:
        done = run_pass(share=share and not whole.published, between=bool(whole.published) and not whole.probes)
        whole += done
        now = time.monotonic()
        progress = now if done.published else progress
        if not (done.behind or whole.probes) or now > min(end, progress + SECONDS_WITHOUT_PROGRESS):
            return whole
        time.sleep(SECONDS_BETWEEN_PASSES)


def pause_after(failures: int) -> timedelta:
    """Return the pause after a pass, the last of ``failures`` in a row: then 1, 2, 4 s, if that is less."""
    usual: timedelta = engine.DISPATCH_EVERY
    return min(usual, timedelta(seconds=1 << min(failures - 1, 10))) if failures else usual


def forget_wake_ups() -> None:
    """Forget what was published before, so that it is published again: for a worker that starts with an empty broker.

    Runs of processes that are gone are taken over; those of others that live, on this database too, go on.
    """
    now = clock.now()
    claims.mark_all_lost(now, alone=not processes.others(now))


def _make_pass(limit: int | None, share: bool, between: bool) -> Pass:
    pruned = Pass(pruned=_prune())
    if not publisher.has_consumer():
        return pruned
    probed = Pass()
    if publisher.is_broken():
        probed = _publish(1, share=False, probe=True)
        if not probed.published:
            return pruned
    return pruned + probed + _publish(limit, share=share, between=between)


def _publish(limit: int | None, *, share: bool, probe: bool = False, between: bool = False) -> Pass:
    choice = _claim(limit, share, between)
    failpoints.reach("dispatch.marked")
    sent = publisher.publish(choice.wake_ups, publisher.Budget(engine.DISPATCH_EVERY.total_seconds()), probe=probe)
    rescued = sum(wake_up.rescue for wake_up in choice.wake_ups)
    return Pass(sent, rescued, behind=choice.behind and sent == len(choice.wake_ups), probes=choice.probes)


@dataclass(frozen=True, slots=True)
class _Choice:
    """Wake-ups to send, marked as sent; whether there are more; how many of them are probes."""

    wake_ups: list[publisher.WakeUp]
    behind: bool
    probes: int


def _claim(limit: int | None, share: bool = True, between: bool = False) -> _Choice:
    """Claim what is due, never sent or lost, the longest first; then, within its own capacity, what is due soon."""
    now = clock.now()
    if not claims.any_due_soon(now):
        return _Choice([], behind=False, probes=0)
    sent = claims.sent_kinds(now)
    known = {kind_id: model for kind_id, model in sent.items() if limits.of(model) is None}
    found = backlog.look(now, known)
    # One that is behind does not look: it knows that there is more.
    there = claims.There(*[sent.keys()] * 4) if between else claims.look(now, sent)
    unsent, late, unsent_ahead, late_ahead = (known.keys() & kinds for kinds in there)
    overdue = [claims.unsent(now, unsent), claims.lost(now, late, found.consumed_to)]
    overdue = [rows.filter(wake_at__lte=now) for rows in overdue]
    left = 2 * engine.MAX_OUT + backlog.FEW * len(known) if limit is None else limit

    most = min(found.capacity, left)
    due = claims.claim(now, most, *overdue[:1] if between else overdue)
    if between:
        due += claims.claim(now, most - len(due), *overdue[1:])
    behind = len(due) == most and (most > 0 or (found.has_consumer and any(rows.exists() for rows in overdue)))
    probes = _probe(now, known, found, left - len(due))
    left -= len(due) + len(probes)
    ahead: list[claims.Claim] = []
    if unsent_ahead or late_ahead:
        most = min(max(found.capacity_early - len(due), found.share if share else 0), left)
        soon = [claims.unsent(now, unsent_ahead), claims.lost(now, late_ahead, found.consumed_to)]
        ahead = claims.claim(now, most, *[rows.filter(wake_at__gt=now) for rows in soon])
    chosen = [*due, *probes, *ahead]
    wake_ups = [publisher.wake_up(each, known[each.kind_id], each.kind_id, rescue=each.rescue) for each in chosen]
    if limit is None:
        wake_ups += limited.claim(now, {kind_id: sent[kind_id] for kind_id in set().union(*there)})
    return _Choice(wake_ups, behind, len(probes))


def _probe(
    now: datetime, known: dict[int, type[ObjectClass]], found: backlog.Backlog, limit: int
) -> list[claims.Claim]:
    """Claim, of each class whose wake-ups are not consumed, one alarm or each of a few. So no class, and no alarm that
    no worker can run, keeps the others from being consumed.
    """
    claimed: list[claims.Claim] = []
    for kind in known:
        unconsumed = found.unconsumed.get(kind)
        most = backlog.FEW if unconsumed and unconsumed.is_small else 1
        if unconsumed and not unconsumed.is_small and now < unconsumed.next_probe:
            continue
        some: list[claims.Claim] = []
        if not found.has_consumer and not found.capacity:
            some = claims.claim(now, min(1, limit - len(claimed)), claims.unsent(now, [kind]).filter(wake_at__lte=now))
        if unconsumed and not some:
            some = claims.claim(now, min(most, limit - len(claimed)), claims.unconsumed(now, kind))
        claimed += some
    return claimed


def _prune() -> int:
    global _last_pruned
    if time.monotonic() - _last_pruned < PRUNE_EVERY:
        return 0
    now = clock.now()
    pauses.forget_ended(now)
    pruned, done = _pruning.go_on(now, PRUNE_FOR)
    if done:
        _last_pruned = time.monotonic()
    return pruned
