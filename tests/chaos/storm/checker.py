"""The promises, judged: pure functions of the history and of the database as it was in the end.

A *token* is one order to wake an object. An object's log is what its turns committed, in the order of their commits.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise

from tests.chaos.storm import schedule_rules, start_rules
from tests.chaos.storm.evidence import Event, Evidence, Found, Violation

#: The monotonic clock and the database's are not the same one.
SLACK = 0.05

#: How often one wake-up may be sent, by whomever: again for what got lost, and after faults of the broker.
MOST_MESSAGES = 20
#: The first run and its six retries.
MOST_RUNS = 7

#: Entries that a run makes, not a caller.
_RUNS = {"begin", "done", "died"}


def check(evidence: Evidence, *, late_after: float = 90.0) -> list[Violation]:
    """Every broken promise. ``late_after``: seconds after which an alarm was not late but stuck."""
    found = [violation for rule in RULES for violation in rule(evidence)]
    return found + list(stuck(evidence, late_after))


def answers(evidence: Evidence) -> Found:
    """What was acknowledged is in the log, what was refused is not, and only refusals and databases fail a caller."""
    logged = {
        entry["call"]: (name, number)
        for name, log in evidence.logs.items()
        for number, entry in enumerate(log, 1)
        if "call" in entry
    }
    for event in evidence.of("ok", "refused", "failed"):
        place = logged.get(event["id"])
        if event["e"] == "ok" and "number" in event and place != (event["object"], event["number"]):
            yield Violation("lost", f"{event['id']} was acknowledged as {event['number']}, the log says {place}")
        if event["e"] == "refused" and place is not None:
            yield Violation("refused", f"{event['id']} was refused and stands as {place}")
        if event["e"] == "failed":
            yield Violation("caller", f"{event['id']} ended with {event['error']}")


def logs(evidence: Evidence) -> Found:
    """In each log: only what is armed begins, only the latest to begin ends, once, and none stays armed."""
    for name, log in evidence.logs.items():
        armed: str | None = None
        begun: dict[str, str] = {}
        done: set[str] = set()
        for entry in (entry for entry in log if "schedule" not in entry):
            what, token = entry["op"], entry.get("token", "")
            place = f"{name}: {entry}"
            if what in _RUNS and token != armed and (what == "begin" or token not in begun):
                yield Violation("unarmed", f"{place} while {armed} is armed")
            if what == "done" and begun.get(token, entry["run"]) != entry["run"]:
                yield Violation("overlapping", f"{place}, after {begun[token]} had taken over")
            if token in done:
                yield Violation("repeated", place)
            if what == "begin":
                begun[token] = entry["run"]
            elif what in _RUNS:
                done.add(token)
            armed = _armed(armed, entry)
        if armed is not None:
            yield Violation("lost", f"{name}: {armed} never ended")
    for name in evidence.armed:
        yield Violation("lost", f"{name} is still armed")


def _armed(armed: str | None, entry: Event) -> str | None:
    """What is armed after this entry."""
    if entry["op"] == "set":
        return str(entry["token"])
    if entry["op"] in ("begin", "held", "undid"):
        return armed
    return None if entry["op"] == "cancel" or entry["token"] == armed else armed


def times(evidence: Evidence) -> Found:
    """No run before its time by the database's clock, no retry before the ladder says so."""
    for runs in evidence.runs.values():
        raised: dict[tuple[str, int], float] = {}
        for run in runs:
            order = evidence.orders.get(run.token)
            if order is None and not run.schedule:
                yield Violation("unarmed", f"{run} has no order")
                continue
            asked = datetime.fromisoformat(order["at"]) if order else run.scheduled
            if run.at < asked or run.scheduled != asked:
                yield Violation("early", f"{run} was asked for at {asked}")
            before = raised.get((run.token, run.retry - 1))
            if before is not None and run.start < before + 2.0**run.retry - SLACK:
                yield Violation("early", f"{run} {run.start - before:.2f} s after the failure")
            # The failure of a run over its time limit was counted before its handler ended.
            if run.ending == "raise" and not run.limited:
                raised[run.token, run.retry] = run.last
    for row in evidence.rows:
        times = (row["due"], row["started"]) if row["schedule"] else (row["scheduled"], row["due"], row["started"])
        if list(times) != sorted(times):  # what runs for missed times of a schedule is due with the first of them
            yield Violation("early", str(row))


def overlaps(evidence: Evidence) -> Found:
    """A run that no fault has hit keeps its object to its end; nobody starts while a renewed lease lives."""
    renewed: dict[tuple[int, int], list[Event]] = defaultdict(list)
    for event in evidence.of("renewed"):
        renewed[event["id"], event["fence"]].append(event)
    for runs in evidence.runs.values():
        for run, other in pairwise(runs):
            if run.last > other.start and not evidence.excused(run, other.start):
                yield Violation("overlapping", f"{run} and {other}")
            if run.limited or run.id is None or run.fence is None or (run.ending and run.last < other.start):
                continue
            if evidence.is_gone(run.pid, run.start, other.start):
                continue  # a new ``up`` does not wait for the leases of one that is gone
            for event in renewed[run.id, run.fence]:
                if event["m"] < other.start and datetime.fromisoformat(event["until"]) > other.at:
                    yield Violation("overlapping", f"{other} while {run} has a lease until {event['until']}")
                    break


def cancelled(evidence: Evidence) -> Found:
    """No run starts for an order once a later order or a cancel of the same object was acknowledged."""
    told: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for event in evidence.of("ok"):
        if event["op"] in ("set", "move", "cancel"):
            told[event["object"]].append((event["number"], event["m"]))
    for name, runs in evidence.runs.items():
        for run in runs:
            order = evidence.orders.get(run.token)
            later = [m for number, m in told[name] if order and number > order["number"]]
            if later and min(later) < run.start:
                yield Violation("cancelled", f"{run} started {run.start - min(later):.3f} s after it was replaced")


def counts(evidence: Evidence) -> Found:
    """Each failure is counted once, by the row; nothing else is counted."""
    failures: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in evidence.rows:
        if row["outcome"] in ("failed", "dead") and not row["schedule"]:
            failures[row["object"], row["scheduled"]].append(row["retry"])
    for (name, scheduled), retries in failures.items():
        if sorted(retries) != list(range(len(retries))):
            yield Violation("miscounted", f"{name}: the alarm for {scheduled} failed with the counts {sorted(retries)}")
    limited = {run.token for runs in evidence.runs.values() for run in runs if run.limited}
    for name, log in evidence.logs.items():
        for entry in log:
            order = evidence.orders.get(entry.get("token", ""))
            if order is None or entry["op"] not in ("done", "died") or entry["token"] in limited:
                continue
            expected = min(order["fail"], 6)
            counted = len(failures[name, order["at"]]) - (entry["op"] == "died")
            if not entry["retry"] == counted == expected:
                yield Violation("miscounted", f"{name}: {entry} with {counted} failures on record, {expected} planned")


def counted_once(evidence: Evidence) -> Found:
    """A handler that raised with a count does not run with that count again, unless nobody lived to count it."""
    for runs in evidence.runs.values():
        raised: dict[tuple[str, int], float] = {}
        for run in (run for run in runs if run.planned):
            first = raised.setdefault((run.token, run.retry), run.last)
            uncounted = evidence.died(run.pid, first, run.last) or evidence.database_away(first, run.last)
            if first != run.last and not uncounted and not _cut_off(evidence, run.token, run.retry):
                yield Violation("miscounted", f"{run} failed with a count that had failed before")


def _cut_off(evidence: Evidence, token: str, retry: int) -> bool:
    """Whether a process that had a failure of this token to count was hit before it could."""
    runs = [run for of in evidence.runs.values() for run in of if (run.token, run.retry) == (token, retry)]
    return any(run.planned and evidence.died(run.pid, run.last - 1, run.last + 5) for run in runs)


def keys(evidence: Evidence) -> Found:
    """Each effect key has one content, each accepted item arrives, and under one key only."""
    contents: dict[str, set[str]] = defaultdict(set)
    carried: dict[str, set[str]] = defaultdict(set)
    for event in evidence.of("effect", "post"):
        contents[event["key"]].add(event["content"])
        for item in event.get("items", []):
            carried[item].add(event["key"])
    for key, seen in contents.items():
        if len(seen) > 1:
            yield Violation("contents", f"{key} came with {len(seen)} contents: {sorted(seen)}")
    for item, under in carried.items():
        if len(under) > 1:
            yield Violation("contents", f"{item} came under {len(under)} keys")
    for event in evidence.of("ok"):
        if "item" in event and event["item"] not in carried:
            yield Violation("lost", f"{event['item']} was accepted and never sent")


def wake_ups(evidence: Evidence) -> Found:
    """Wake-ups do not breed: an order, a step of its way and a run send one each, however often each is delivered; and
    so does a message that it shares, behind a slow neighbour.

    What dispatchers send again for what got lost is left out, and so is what waits for an object that is locked.
    """
    ids = {run.id: name for name, runs in evidence.runs.items() for run in runs if run.id is not None}
    ids |= {event["id"]: event["object"] for event in evidence.of("known")}
    sent: dict[str, int] = defaultdict(int)
    skips = Counter(row["object"] for row in evidence.rows if row["outcome"] == "skipped")
    for event in evidence.of("sent"):
        if event["id"] in ids and not event["waits"] and event["role"] not in ("dispatcher", "up", "second"):
            sent[ids[event["id"]]] += 1
    shared = Counter(ids[event["id"]] for event in evidence.of("taken") if event["id"] in ids and event.get("shared"))
    for name, count in sent.items():
        asked = sum(entry["op"] in ("set", "schedule") for entry in evidence.logs.get(name, []))
        allowed = 2 * (asked + len(evidence.runs.get(name, [])) + skips[name] + shared[name]) + 2
        if count > allowed:
            yield Violation("bred", f"{name}: {count} wake-ups were sent, {allowed} at most have a reason")


def filled(evidence: Evidence) -> Found:
    """What waits in the broker is bounded by the alarms, not by how long nobody takes it."""
    taken = Counter((event["id"], event["wake_up_number"]) for event in evidence.of("taken"))
    for (object_id, wake_up_number), count in taken.items():
        if count > MOST_MESSAGES:
            yield Violation("filled", f"object {object_id}: the broker took wake-up {wake_up_number} {count} times")


def ended(evidence: Evidence) -> Found:
    """Nothing ends by itself: only what was killed at a crash point, or by its own handler on purpose."""
    killed = {event["pid"] for event in evidence.of("killed")}
    for event in evidence.of("ended"):
        if event["process"] not in killed:
            yield Violation("ended", f"{event['name']} ended by itself with {event['code']}: {event['log']}")


def dead(evidence: Evidence) -> Found:
    """An alarm is dead because its handler failed seven times or gave up, and for nothing else."""
    failed: dict[tuple[str, str, datetime], set[int]] = defaultdict(set)
    for runs in evidence.runs.values():
        for run in runs:
            of = failed[run.object, run.schedule, run.scheduled]
            if run.gave_up:
                of.update(range(MOST_RUNS))
            if run.planned or (run.limited and run.ending != "end"):
                of.add(run.retry)
    for row in evidence.rows:
        of = failed[row["object"], row["schedule"], datetime.fromisoformat(row["scheduled"])]
        if row["outcome"] == "dead" and len(of) < MOST_RUNS:
            yield Violation("dead", f"{row} after its handler failed {len(of)} times")


def differ(evidence: Evidence) -> Found:
    """What a turn writes into its storage and into the user's own models is there in both, or in neither."""
    for name in evidence.logs.keys() | evidence.own.keys():
        logged = Counter(entry["mark"] for entry in evidence.logs.get(name, []) if "mark" in entry)
        own = Counter(evidence.own.get(name, []))
        for mark in (logged - own).elements():
            yield Violation("differ", f"{name}: the entry {mark} of its storage has no row")
        for mark in (own - logged).elements():
            yield Violation("differ", f"{name}: the row {mark} has no entry in its storage")


def stuck(evidence: Evidence, seconds: float) -> Found:
    """An alarm runs within ``seconds`` of its time."""
    begun: set[str] = set()
    for runs in evidence.runs.values():
        for run in runs:
            if run.token not in begun and run.at - run.scheduled > timedelta(seconds=seconds):
                yield Violation("stuck", f"{run} was {run.at - run.scheduled} late")
            begun.add(run.token)


RULES: list[Callable[[Evidence], Found]] = [
    answers,
    logs,
    times,
    overlaps,
    cancelled,
    counts,
    counted_once,
    keys,
    wake_ups,
    filled,
    ended,
    dead,
    differ,
    schedule_rules.occurrences,
    schedule_rules.replaced,
    schedule_rules.counts,
    start_rules.paused,
    start_rules.crowded,
    start_rules.paced,
]
