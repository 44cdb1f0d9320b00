"""One bounded pass: ring for what is due soon, ring again for what got lost, prune the history.

Any number of dispatchers may run at once: each takes rows that no other has, and what is rung twice runs once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from django.apps import apps
from django.contrib.contenttypes.models import ContentType

from durable_objects import bell, claims, clock, crash, dispatchers, history
from durable_objects.conf import engine
from durable_objects.models import DurableObject

#: Seconds between two prunings of the history, and how many of a pass one may take; what is left is next pass's.
PRUNE_EVERY = 60.0
PRUNE_FOR = 1.0

#: How often a dispatcher looks that is behind, and when it stops to, if none of its wake-ups is heard.
SECONDS_BETWEEN_PASSES = 0.02
SECONDS_WITHOUT_PROGRESS = 0.3

_last_pruned = float("-inf")
_pruning = history.Pruning()


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass did: wake-ups sent, how many of them were rescues of lost ones, runs pruned from the history.

    ``behind``: more is to be rung for as soon as some of these have been heard.
    """

    rung: int = 0
    rescued: int = 0
    pruned: int = 0
    behind: bool = False

    def as_dict(self) -> dict[str, int]:
        """The figures by name."""
        return {"rung": self.rung, "rescued": self.rescued, "pruned": self.pruned}


def run_pass(limit: int | None = None) -> Pass:
    """Ring for at most ``limit`` alarms (default: what ``MAX_OUT`` leaves room for). Raises what the database raises.

    Does nothing while no wake-up would be heard, the broker being private to a process without a worker. Where a
    message could not be sent a moment ago, it begins with a single one, and goes on only when that gets through.
    """
    if not clock.connection().in_atomic_block:  # that of a test case is not ours to close
        clock.connection().close_if_unusable_or_obsolete()
    made = _make_pass(limit)
    if bell.is_heard():
        dispatchers.sign(clock.now(), refused=bell.is_broken())
    return made


def catch_up(limit: timedelta) -> Pass:
    """Pass again and again while there is more to ring for than may be out at a time, for at most ``limit``.

    Ends early when nobody seems to hear: this process may be the one that should.
    """
    whole, end = Pass(), time.monotonic() + limit.total_seconds()
    heard = time.monotonic()
    while True:
        done = run_pass()
        whole = Pass(whole.rung + done.rung, whole.rescued + done.rescued, whole.pruned + done.pruned, done.behind)
        now = time.monotonic()
        heard = now if done.rung else heard
        if not done.behind or now > min(end, heard + SECONDS_WITHOUT_PROGRESS):
            return whole
        time.sleep(SECONDS_BETWEEN_PASSES)


def forget_wake_ups() -> None:
    """Call when the only worker starts with an empty broker: what was rung for before is rung for anew."""
    claims.forget_all_rung(clock.now())


def known_kinds() -> dict[int, type[DurableObject]]:
    """The classes of objects that this code and the database know, by content type."""
    models = {m._meta.label_lower: m for m in apps.get_models() if issubclass(m, DurableObject) and not m.is_base()}
    content_types = ContentType.objects.filter(app_label__in={label.partition(".")[0] for label in models})
    found = {ct.pk: models.get(f"{ct.app_label}.{ct.model}") for ct in content_types}
    return {pk: model for pk, model in found.items() if model is not None}


def _make_pass(limit: int | None) -> Pass:
    pruned = _prune()
    if not bell.is_heard():
        return Pass(pruned=pruned)
    probed = Pass()
    if bell.is_broken():
        probed = _ring(1, probe=True)
        if not probed.rung:
            return Pass(pruned=pruned)
    rest = _ring(limit)
    return Pass(probed.rung + rest.rung, probed.rescued + rest.rescued, pruned, rest.behind)


def _ring(limit: int | None, *, probe: bool = False) -> Pass:
    wake_ups, behind = _claim(limit)
    crash.reach("dispatch.marked")
    sent = bell.ring(wake_ups, probe=probe)
    return Pass(sent, sum(wake_up.rescue for wake_up in wake_ups), behind=behind and sent == len(wake_ups))


def _claim(limit: int | None) -> tuple[list[bell.WakeUp], bool]:
    """The alarms to ring for, marked; and whether there are more."""
    now, kinds = clock.now(), known_kinds()
    if not claims.unheard(now, kinds).exists():
        return [], False
    room = max(engine.MAX_OUT - claims.count_out(now), 0)
    most = room if limit is None else min(room, limit)
    claimed = claims.claim(now, kinds, most) if most else []
    return [_wake_up(each, kinds[each.kind_id]) for each in claimed], len(claimed) == most


def _wake_up(claim: claims.Claim, model: type[DurableObject]) -> bell.WakeUp:
    grouped = model.alarm_groups and not claim.rescue and not claim.retries
    return bell.WakeUp(
        claim.object_id, claim.ring, claim.due_at, claim.retries, model.alarm_time_limit, claim.rescue, grouped
    )


def _prune() -> int:
    global _last_pruned
    if time.monotonic() - _last_pruned < PRUNE_EVERY:
        return 0
    pruned, done = _pruning.go_on(clock.now(), PRUNE_FOR)
    if done:
        _last_pruned = time.monotonic()
    return pruned
