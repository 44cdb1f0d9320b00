"""What is promised of the start of a run, judged: none of what is paused, and no more than its class allows."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.storm import record
from tests.chaos.storm.evidence import Evidence, Found, Run, Violation

#: What the subjects' classes set: how many run at a time, and how many start in a second.
CONCURRENCY = {"FewSubject": 2}
RATE = {"PacedSubject": 2}
#: A place is taken a moment before the handler begins: so many more may begin in a second.
MORE_IN_A_SECOND = 1


def paused(evidence: Evidence) -> Found:
    """Nothing of what is paused starts between the return of ``pause`` and ``drain`` and the resume, or its end."""
    spans = list(_pauses(evidence))
    for runs in evidence.runs.values():
        for run in runs:
            for what, begin, end in spans:
                held = what in (run.kind, run.object, record.EVERYTHING) and begin < run.start < end
                if held and not evidence.database_away(run.start, run.start):
                    yield Violation("paused", f"{run} started {run.start - begin:.3f} s into the pause of {what}")


def _pauses(evidence: Evidence) -> Iterator[tuple[str, float, float]]:
    """What was paused, from when on nothing of it runs, and until when at least."""
    asked: dict[str, tuple[float, float]] = {}
    standing: dict[str, tuple[float, float]] = {}
    for event in evidence.of("pausing", "paused", "resuming"):
        what = event["target"]
        if event["e"] == "paused":
            begun, seconds = asked[what]
            standing[what] = (event["m"], begun + seconds)
            continue
        if what in standing:
            begin, end = standing.pop(what)
            yield what, begin, min(end, event["m"])
        if event["e"] == "pausing":
            asked[what] = (event["m"], event["seconds"])
    for what, (begin, end) in standing.items():
        yield what, begin, end


def crowded(evidence: Evidence) -> Found:
    """Of a class with ``alarm_concurrency`` no more run at a time, but for one that a fault has hit."""
    for kind, most in CONCURRENCY.items():
        runs = _of(evidence, kind)
        for run in runs:
            beside = [one for one in runs if one.start < run.start < one.last and not evidence.excused(one, run.start)]
            if len(beside) >= most:
                yield Violation("crowded", f"{run} beside {beside}")


def paced(evidence: Evidence) -> Found:
    """Of a class with ``alarm_rate`` no more start in a second, but for what a fault holds up after its place."""
    for kind, rate in RATE.items():
        runs, most = _of(evidence, kind), rate + MORE_IN_A_SECOND
        for first, run in zip(runs, runs[most:], strict=False):
            if run.start - first.start < 1 and not _held_up(evidence, first) and not _held_up(evidence, run):
                yield Violation("crowded", f"{most + 1} started in {run.start - first.start:.3f} s, the last {run}")


def _held_up(evidence: Evidence, run: Run) -> bool:
    before = run.start - 2
    return evidence.died(run.pid, before, run.start) or evidence.database_away(before, run.start)


def _of(evidence: Evidence, kind: str) -> list[Run]:
    found = [run for runs in evidence.runs.values() for run in runs if run.kind == kind]
    return sorted(found, key=lambda run: run.start)
