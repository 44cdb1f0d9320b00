"""The checker is worth something: each guard of the protocol, taken out, is reported; in place, the same is sound."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest

from tests.chaos.refusals import REFUSALS
from tests.chaos.storm import checker, record, state
from tests.chaos.storm.evidence import Event, Violation
from tests.chaos.storm.fleet import SECOND, Fleet
from tests.support.own_brokers import OwnRedis
from tests.support.site_processes import Site

pytestmark = [pytest.mark.chaos, pytest.mark.services("postgresql")]

LEASE = 2.0
PATIENCE = 30.0
MAX_OUT = 8
_FAILED = "SELECT 1 FROM durable_objects_alarmrun WHERE outcome = 'failed'"


class Play:
    """Two workers, of which the second comes later, a dispatcher, and orders one by one."""

    def __init__(self, site: Site, broker: OwnRedis, taken_out: str) -> None:
        self.site, self.broker = site, broker
        self.fleet = Fleet(site, {}, taken_out=taken_out)
        record.begin(self.fleet.history, "driver")
        #: Seconds after which an alarm is stuck; for which one waits until none is armed, where the guard is missing.
        self.late_after, self.patience = 90.0, 15.0
        self.fleet.start("dispatcher1")
        self.worker("threads")

    def worker(self, pool: str) -> None:
        """One more worker, once it takes messages."""
        self.fleet.start(f"worker-{pool}")
        self.fleet.wait_until_ready(f"worker-{pool}")

    def call(self, *steps: list[Any]) -> None:
        """Calls from a process of their own: ``[at second, "set", name, in seconds, plan]``."""
        self.site.execute(f"from tests.chaos.storm.load import follow; follow({list(steps)!r})", seconds=60)

    def until(self, event: str, count: int = 1) -> list[Event]:
        """Wait for so many events of this kind."""

        def look() -> list[Event]:
            return [one for one in record.read(self.fleet.history) if one["e"] == event]

        return self.site.wait_for(event, look, seconds=PATIENCE, until=lambda seen: len(seen) >= count)

    def freeze(self) -> Callable[[], None]:
        """SIGSTOP the first worker; what wakes it again, and writes the fault down."""
        worker, begin = self.fleet.living["worker-threads"], time.monotonic()
        worker.freeze()

        def thaw() -> None:
            worker.thaw()
            end = time.monotonic()
            record.note("fault", kind="paused", part="worker", begin=begin, end=end, pids=[worker.pid])

        return thaw

    def judged(self, seconds: float) -> list[Violation]:
        """What the checker finds once nothing is armed, or after so many seconds."""
        end = time.monotonic() + seconds
        ask = partial(state.ask_postgresql, self.site.database_url)
        while ask(state.ARMED) and time.monotonic() < end:
            time.sleep(0.2)
        time.sleep(0.5)  # who has committed is about to write that down
        self.fleet.note_ended()
        return checker.check(state.evidence(self.fleet.history, ask), late_after=self.late_after)


def stopped_past_its_lease(play: Play) -> None:
    """A worker is stopped while unlocked; another one runs the alarm; then the first goes on."""
    play.call([0, "set", "a", 0, {"pause": 1.5}])
    play.until("out")
    thaw = play.freeze()
    play.worker("prefork")
    play.until("end")
    thaw()
    play.site.wait_for("the first run", lambda: _endings(play), seconds=PATIENCE, until=lambda n: n >= 2)


def killed(play: Play) -> None:
    """A worker dies while unlocked."""
    play.call([0, "set", "a", 0, {"pause": 1.5}])
    play.until("out")
    play.fleet.restart("worker-threads")


def moved_to_later(play: Play) -> None:
    """The wake-up for the first time comes before the second."""
    play.call([0, "set", "a", 2, {}], [0.5, "move", "a", 5])


def longer_than_a_lease(play: Play) -> None:
    """A handler stays unlocked for three leases, and nothing is wrong with its worker."""
    play.call([0, "set", "a", 0, {"pause": 3 * LEASE}])


def a_locked_row(play: Play) -> None:
    """Callers' messages get lost, and a transaction keeps a row that the dispatcher is to ring for."""
    play.late_after = 8.0
    play.call([0, "set", "far", 50, {}])
    play.fleet.wish("post", "lost")
    with psycopg.connect(play.site.database_url) as connection:
        connection.execute("UPDATE durable_objects_alarm SET wake_up_for = NULL")
        connection.commit()
        connection.execute("SELECT 1 FROM durable_objects_alarm FOR UPDATE")
        play.call(*[[0, "set", f"near{n}", 0, {}] for n in range(5)])
        time.sleep(12)
    play.call([0, "cancel", "far"])


def no_broker(play: Play) -> None:
    """The broker is away while alarms are set."""
    play.broker.stop()
    play.call([0, "set", "a", 0, {}], [0.5, "set", "b", 0, {}])
    play.broker.start()


def a_lost_retry(play: Play) -> None:
    """The worker that holds the message of a retry dies."""
    play.call([0, "set", "a", 0, {"fail": 2}])
    play.site.wait_for_rows(_FAILED, seconds=PATIENCE)
    play.fleet.restart("worker-threads")


def twice_at_once(play: Play) -> None:
    """Each message comes twice, to two threads of a worker; the second waits for the first one's lock."""
    play.fleet.wish("post", "doubled")
    play.call(*[[0, "set", f"a{n}", 0.5, {"hang": 0.5}] for n in range(4)])


def failing_twice_at_once(play: Play) -> None:
    """Likewise, and the first run fails."""
    play.fleet.wish("post", "doubled")
    play.call(*[[0, "set", f"a{n}", 0.5, {"hang": 0.5, "fail": 1}] for n in range(4)])


def renewed_in_between(play: Play) -> None:
    """A lease is over, another worker is about to take over, and the heartbeat is quicker."""
    play.call([0, "set", "a", 0, {"pause": 14}])
    play.until("out")
    play.worker("prefork")
    thaw = play.freeze()
    play.until("slow")
    thaw()
    play.until("renewed", 3)


def put_off_again_and_again(play: Play) -> None:
    """Each message comes twice, and each time the alarm has been moved to later."""
    play.fleet.wish("post", "doubled")
    play.call([0, "set", "a", 2, {}], *[[1 + 2 * n, "move", "a", 3] for n in range(6)])


def cancelled_inside(play: Play) -> None:
    """A handler ends with what asyncio raises when a task of its own is cancelled."""
    play.call([0, "set", "a", 0, {"pause": 0.2, "fail": 1, "by": "CancelledError"}])


def redis_refuses(play: Play) -> None:
    """Redis is read-only for three seconds while a worker holds a wake-up."""
    play.call([0, "set", "a", 12, {}])
    with REFUSALS["READONLY"](play.broker.client):
        time.sleep(3)
    time.sleep(2)
    play.fleet.keep_up()


def many_on_their_way(play: Play) -> None:
    """Twice as many alarms as may be out set themselves again, seconds ahead; the message of another one is lost."""
    play.late_after, play.patience = 10.0, 60.0
    play.call(*[[0, "set", f"a{n}", 0, {"again": 8, "ahead": 4}] for n in range(2 * MAX_OUT)])
    play.site.environment["DELIVER"] = "0"
    play.call([0, "set", "b", 0, {}])


def a_night(play: Play) -> None:
    """Nobody takes the wake-ups of due alarms, for a hundred and fifty times as long as one counts as lost after."""
    play.fleet.retire("worker-threads", "kill")
    play.site.environment["LOST_AFTER"] = "0.4"
    play.fleet.restart("dispatcher1")
    play.call(*[[0, "set", f"a{n}", 0, {}] for n in range(2 * MAX_OUT)])
    time.sleep(60)
    play.worker("threads")


def a_locked_table(play: Play) -> None:
    """Somebody rewrites the table of the entries, for longer than anybody waits, while a handler is about to read."""
    play.patience = PATIENCE
    play.call(*[[0, "set", f"a{n}", 4, {}] for n in range(4)])
    begin = time.monotonic()
    with psycopg.connect(play.site.database_url) as connection:
        connection.execute("LOCK TABLE durable_objects_entry IN ACCESS EXCLUSIVE MODE")
        time.sleep(12)
    record.note("fault", kind="table locked", part="database", begin=begin, end=time.monotonic(), pids=[])


def another_up(play: Play) -> None:
    """While a handler is outside, a second ``up`` starts on the same database, with a broker of its own."""
    play.patience = PATIENCE
    # With a lease that is renewed every ten seconds, not at once.
    play.site.environment["ENGINE"] = json.dumps(json.loads(play.site.environment["ENGINE"]) | {"LEASE": 30})
    play.fleet.restart("worker-threads")
    play.fleet.wait_until_ready("worker-threads")
    play.call([0, "set", "a", 0, {"pause": 25}])
    play.until("out")
    play.fleet.start(SECOND, CELERY_BROKER_URL="memory://")
    play.fleet.leave_alone(SECOND)


def never_idle(play: Play) -> None:
    """Two callers have the object in turn for a minute, while its alarm is due."""
    play.late_after, play.patience = 20.0, 2 * PATIENCE
    steps = [[0, "hold", "a", 1.8]] * 16
    code = f"import django; django.setup()\nfrom tests.chaos.storm.load import follow; follow({steps!r})"
    holders = [play.site.brief(name, "-c", code) for name in ("one", "other")]
    play.until("ok", 2)
    play.call([0, "set", "a", 0, {}])
    for holder in holders:
        holder.ended(4 * PATIENCE)


def an_undone_savepoint(play: Play) -> None:
    """A handler goes back to a savepoint that it made by hand."""
    play.call([0, "set", "a", 0, {"undo": 1}])


#: Each second, for as long as these plays last.
_OFTEN = {"every": 1, "end": int(time.time()) + 3600}


def cancelled_while_outside(play: Play) -> None:
    """A schedule is cancelled while a run of it is unlocked."""
    play.call([0, "schedule", "scheduled0", "often", _OFTEN, {"pause": 3}])
    play.until("out")
    play.call([0, "unschedule", "scheduled0", "often"])
    play.until("end")
    time.sleep(4)
    play.call([0, "unschedule", "scheduled0", "often"])


def an_outage(play: Play) -> None:
    """For some seconds there is no worker; what a schedule then calls fails once, so that it runs again."""
    play.call([0, "schedule", "scheduled0", "often", _OFTEN, {"fail": 1}])
    play.site.wait_for_rows(_FAILED, seconds=PATIENCE)
    play.fleet.retire("worker-threads", "kill")
    time.sleep(6)
    play.worker("threads")
    play.until("end", 3)
    play.call([0, "unschedule", "scheduled0", "often"])


def killed_after_an_outage(play: Play) -> None:
    """What was missed is decided on, and the worker that runs it dies while unlocked."""
    play.fleet.retire("worker-threads", "kill")
    play.call([0, "schedule", "scheduled0", "often", _OFTEN, {"pause": 2}])
    time.sleep(5)
    play.worker("threads")
    play.until("out")
    play.fleet.restart("worker-threads")
    play.until("end", 3)
    play.call([0, "unschedule", "scheduled0", "often"])
    time.sleep(4)  # a run that is still unlocked ends


def paused(play: Play) -> None:
    """Alarms and a schedule come due while their class is paused."""
    play.call(
        [0, "schedule", "scheduled0", "often", _OFTEN, {}],
        [1, "pause", "ScheduledSubject", 4],
        *[[3, "set", f"scheduled{n}", 0, {}] for n in range(4)],
        [10, "unschedule", "scheduled0", "often"],
    )


def many_of_few(play: Play) -> None:
    """Eight alarms of a class of which two may run at a time are due at once."""
    play.call(*[[0, "set", f"few{n}", 1, {"pause": 0.5}] for n in range(8)])


def many_of_paced(play: Play) -> None:
    """Eight alarms of a class of which two may start in a second are due at once."""
    play.call(*[[0, "set", f"paced{n}", 1, {}] for n in range(8)])


def _endings(play: Play) -> int:
    return sum(event["e"] in ("end", "superseded") for event in record.read(play.fleet.history))


CASES: list[tuple[str, Callable[[Play], None], set[str]]] = [
    ("fence", stopped_past_its_lease, {"repeated"}),
    ("rescue", killed, {"lost"}),
    ("never_early", moved_to_later, {"early"}),
    ("heartbeats", longer_than_a_lease, {"overlapping"}),
    ("skip_locked", a_locked_row, {"stuck"}),
    ("robust", no_broker, {"caller"}),
    ("row_count", a_lost_retry, {"miscounted"}),
    ("second_statement", twice_at_once, {"repeated"}),
    ("conditional", renewed_in_between, {"overlapping"}),
    ("savepoint", failing_twice_at_once, {"miscounted"}),
    ("room_for_what_is_due", many_on_their_way, {"stuck"}),
    ("silence", a_night, {"filled"}),
    ("put_off", a_locked_table, {"dead"}),
    ("who_lives", another_up, {"overlapping"}),
    ("in_line", never_idle, {"stuck"}),
    ("savepoints", an_undone_savepoint, {"differ"}),
    ("steady_consumer", redis_refuses, {"ended"}),
    ("any_failure", cancelled_inside, {"miscounted"}),
    ("ring_number", put_off_again_and_again, {"bred"}),
    ("schedule_stands", cancelled_while_outside, {"unarmed"}),
    ("decision_kept", killed_after_an_outage, {"repeated"}),
    ("skipped_on_record", an_outage, {"lost"}),
    ("pause", paused, {"paused"}),
    ("place", many_of_few, {"crowded"}),
    ("place", many_of_paced, {"crowded"}),
]


#: What is otherwise than usual, with the guard and without, so that it shows.
BESIDE: dict[Callable[[Play], None], list[str]] = {
    renewed_in_between: ["slow_take_over"],
    a_locked_table: ["no_retries"],
}


@pytest.mark.parametrize("taken", [True, False], ids=["out", "in"])
@pytest.mark.parametrize(
    ("guard", "happens", "rules"), CASES, ids=[f"{guard}-{happens.__name__}" for guard, happens, _ in CASES]
)
def test_the_checker_reports_a_guard_that_is_taken_out(
    redis_broker: OwnRedis,
    site_on: Callable[..., Site],
    say: Callable[[str], None],
    *,
    guard: str,
    happens: Callable[[Play], None],
    rules: set[str],
    taken: bool,
) -> None:
    """The same events are sound with the guard in place, and break the promise that it keeps without it."""
    site = site_on(redis_broker, LEASE=LEASE, DISPATCH_EVERY=1, MAX_OUT=MAX_OUT)
    site.environment |= {"LOST_AFTER": "1", "CHAOS_ROLE": "load"}
    named = [guard] * taken + BESIDE.get(happens, [])
    play = Play(site, redis_broker, ",".join(named))
    happens(play)
    found = play.judged(play.patience if taken else max(play.patience, PATIENCE))
    broken = sorted({one.rule for one in found})
    say(f"{'without' if taken else 'with'} it: {broken} {[one.what[:300] for one in found[:1]]}")
    assert rules <= {one.rule for one in found} if taken else not found, found
