"""What is promised of schedules, judged: each occurrence of a rule while it stood is run to its end, skipped or dead.

By arithmetic of its own: ``every`` n seconds is whole multiples of n since 1970, whatever the engine makes of it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.chaos.storm.evidence import Event, Evidence, Found, Violation

#: How the history says what was skipped: of which schedule, how many from when on.
_SKIPPED = re.compile(r"missed: (\d+), from (\S+) on")

_NEVER = datetime.min.replace(tzinfo=UTC)

#: What makes two settings of a schedule the same.
_SAME = ("rule", "misfire", "grace", "plan")


@dataclass
class Standing:
    """A rule of a schedule from the entry that set it to the one that cancels it or puts another rule in its place.

    ``numbers``: what the engine counted it as, one more each time that what it calls was changed.
    """

    entry: Event
    first: datetime
    numbers: set[int] = field(default_factory=set)
    settled: list[datetime] = field(default_factory=list)
    #: The latest that ended otherwise than skipped.
    last_run: datetime = _NEVER
    is_closed: bool = False

    @property
    def number(self) -> int:
        """The number that it has now."""
        return int(self.entry["set_number"])

    def expected(self) -> Iterator[datetime]:
        """Its occurrences: all, or those up to the last one that was settled, where it was cancelled."""
        last = max(self.settled, default=None) if self.is_closed else self.end
        every, at = self.entry.get("every"), self.first
        while last is not None and at <= last:
            yield at
            if every is None:
                return
            at += timedelta(seconds=every)

    def settle(self, *occurrences: datetime, skipped: bool = False) -> None:
        """These have ended."""
        self.settled += occurrences
        if not skipped:
            self.last_run = max(self.last_run, *occurrences)

    @property
    def end(self) -> datetime:
        """The last moment that its rule allows."""
        if "end" in self.entry:
            return datetime.fromtimestamp(self.entry["end"], UTC)
        return datetime.fromisoformat(self.entry["first"])


class _Story:
    """What became of one schedule of one object, entry by entry."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.standings: list[Standing] = []
        self.standing: Standing | None = None
        self.begun: set[str] = set()
        self.done: set[str] = set()

    def read(self, entry: Event) -> Found:
        """Follow an entry of the log."""
        if entry["op"] == "schedule":
            yield from self._set(entry)
        elif entry["op"] == "unschedule":
            self._close()
        else:
            yield from self._ran(entry)

    def _close(self) -> None:
        if self.standing is not None:
            self.standing.is_closed = True
        self.standing = None

    def _set(self, entry: Event) -> Found:
        before = self.standing.entry if self.standing else None
        if self.standing is None or before is None or before["rule"] != entry["rule"]:
            self._close()
            self.standing = Standing(entry, datetime.fromisoformat(entry["first"]))
            self.standings.append(self.standing)
        elif all(before.get(name) == entry.get(name) for name in _SAME) and entry["set_number"] != before["set_number"]:
            yield Violation("repeated", f"{self.place}: {entry} was set again although it stood so: {before}")
        if datetime.fromisoformat(entry["first"]) in self.standing.settled:
            yield Violation("repeated", f"{self.place}: {entry} is to run once more what has ended")
        self.standing.entry = entry
        self.standing.numbers.add(entry["set_number"])

    def _ran(self, entry: Event) -> Found:
        what, stands = (
            f"{self.place}: {entry}",
            self.standing is not None and self.standing.number == entry["set_number"],
        )
        if entry["op"] == "begin" and stands:
            self.begun.add(entry["token"])
        elif not stands and (entry["op"] == "begin" or entry["token"] not in self.begun):
            yield Violation("unarmed", f"{what} while {self.standing} stands")
        if entry["op"] == "done":
            if entry["token"] in self.done:
                yield Violation("repeated", what)
            self.done.add(entry["token"])
            if stands and self.standing is not None:
                self.standing.settle(datetime.fromisoformat(entry["at"]))


def _stories(evidence: Evidence) -> Iterator[tuple[tuple[str, str], _Story, list[Violation]]]:
    for name, log in evidence.logs.items():
        stories: dict[str, _Story] = {}
        found: dict[str, list[Violation]] = defaultdict(list)
        for entry in log:
            if "schedule" in entry:
                schedule = entry["schedule"]
                story = stories.setdefault(schedule, _Story(f"{name}, {schedule}"))
                found[schedule] += story.read(entry)
        for schedule, story in stories.items():
            yield (name, schedule), story, found[schedule]


def occurrences(evidence: Evidence) -> Found:
    """Each occurrence of a rule, while it stood, ended once: run, dead, or skipped on record; none else did."""
    others = defaultdict(list)
    for row in evidence.rows:
        if row["schedule"] and row["outcome"] in ("skipped", "dead"):
            others[row["object"], row["schedule"]].append(row)
    for key, story, found in _stories(evidence):
        yield from found
        for standing in story.standings:
            for row in others[key]:
                if row["set_number"] in standing.numbers:
                    standing.settle(*_times(row, standing.entry), skipped=row["outcome"] == "skipped")
            yield from _judged(story.place, standing)


def _judged(place: str, standing: Standing) -> Found:
    seen, expected = Counter(standing.settled), set(standing.expected())
    for at, count in sorted(seen.items()):
        if count > 1:
            yield Violation("repeated", f"{place}: {at} ended {count} times: {standing}")
        if at not in expected:
            yield Violation("unarmed", f"{place}: {at} is no time of {standing}")
    for at in sorted(expected - seen.keys()):
        if standing.is_closed and at > standing.last_run:
            continue  # it was about to run, be retried or end when the rule was cancelled; the rest had been skipped
        yield Violation("lost", f"{place}: {at} neither ran nor was skipped or dead: {standing}")


def _times(row: Event, entry: Event) -> list[datetime]:
    """The occurrences that a row of the history settles."""
    if row["outcome"] == "dead":
        return [datetime.fromisoformat(row["scheduled"])]
    said = _SKIPPED.search(row["error"])
    assert said is not None, row
    first, every = datetime.fromisoformat(said[2]), timedelta(seconds=entry.get("every") or 0)
    return [first + number * every for number in range(int(said[1]))]


def replaced(evidence: Evidence) -> Found:
    """No run starts for a schedule once its cancel, or what replaces it, was acknowledged."""
    told = {(event["object"], event["number"]): event["m"] for event in evidence.of("ok") if "number" in event}
    over: dict[tuple[str, int], float] = {}
    for name, log in evidence.logs.items():
        numbers: dict[str, int] = {}
        for place, entry in enumerate(log, 1):
            if entry["op"] not in ("schedule", "unschedule"):
                continue
            before, after = numbers.pop(entry["schedule"], None), entry.get("set_number")
            if after is not None:
                numbers[entry["schedule"]] = after
            if before is not None and before != after and (name, place) in told:
                over[name, before] = told[name, place]
    for event in evidence.of("start"):
        ended = over.get((event["object"], event.get("set_number", -1)))
        if ended is not None and event["m"] > ended:
            yield Violation("cancelled", f"{event} started {event['m'] - ended:.3f} s after it was replaced")


def counts(evidence: Evidence) -> Found:
    """A run's count is that of the failures before it, unless somebody changed the schedule in between."""
    failures: dict[tuple[str, str, str, int], list[int]] = defaultdict(list)
    changed: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for row in evidence.rows:
        if row["schedule"] and row["outcome"] == "failed":
            occurrence = (row["object"], row["schedule"], row["scheduled"])
            changed[occurrence].add(row["set_number"])
            failures[*occurrence, row["set_number"]].append(row["retry"])
    for key, retries in failures.items():
        if len(set(retries)) < len(retries):
            yield Violation("miscounted", f"{key} failed with the counts {sorted(retries)}")
    for name, log in evidence.logs.items():
        for entry in (entry for entry in log if "schedule" in entry and entry["op"] == "done"):
            occurrence = (name, entry["schedule"], entry["at"])
            failed, number = failures[*occurrence, entry["set_number"]], entry["set_number"]
            if entry["retry"] in failed or (changed[occurrence] == {number} and entry["retry"] < len(failed)):
                yield Violation("miscounted", f"{name}: {entry} with the failures {failed}")
