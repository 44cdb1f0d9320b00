"""The faults that are dealt, each by its name and the part that it hits. Faults on different parts may overlap."""

from __future__ import annotations

from tests.chaos.storm import faults
from tests.chaos.storm.fleet import FAKETIME, wrong_clock
from tests.chaos.storm.scene import Fault

_ENGINE = ["turn.before_commit", "turn.after_commit", "bell.before_publish"]
_FIRING = ["firing.before_handler", "firing.after_handler", "turn.unlocked", "turn.locked_again"]
#: Where each role may be killed.
POINTS = {
    "worker": [*_ENGINE, *_FIRING, "batcher.sealed", "batcher.posted", "batcher.settled"],
    "dispatcher": ["dispatch.marked", "bell.before_publish"],
    "web": _ENGINE,
    "load": _ENGINE,
}

#: Where each process has its one thing to do, on servers.
SERVERS = [
    *(
        Fault(f"{role} killed at {point}", f"{role} point", faults.killed_at(role, point))
        for role, points in POINTS.items()
        for point in points
    ),
    Fault("worker killed", "worker", faults.kill_worker),
    Fault("pool child killed", "worker", faults.kill_child),
    Fault("worker ended", "worker", faults.end_worker),
    Fault("worker paused", "worker", faults.pause_worker),
    *(
        Fault(f"worker's clock {seconds:+d} s", "worker", faults.dressed(**wrong_clock(seconds)))
        for seconds in (10, -10)
        if FAKETIME.exists()
    ),
    Fault("class unknown to a worker", "worker", faults.dressed(CHAOS_UNKNOWN="1")),
    Fault("dispatcher killed", "dispatcher", faults.killed("dispatcher1")),
    Fault("dispatcher paused", "dispatcher", faults.pause_dispatcher),
    Fault("five dispatchers", "dispatcher", faults.five_dispatchers),
    Fault("web killed", "web", faults.killed("web")),
    Fault("callers killed", "load", faults.killed("load")),
    Fault("poison", "load", faults.wish("poison")),
    Fault("slow beside quick", "load", faults.wish("burst")),
    Fault("upstream refuses", "upstream", faults.refusing_upstream),
    Fault("broker restarted", "broker", faults.broker_restart),
    Fault("broker frozen", "broker", faults.broker_freeze),
    Fault("broker a black hole", "broker", faults.black_hole),
    Fault("broker emptied", "broker", faults.flush),
    *(Fault(f"messages {way}", "messages", faults.post(way)) for way in ("lost", "doubled", "delayed", "reordered")),
    Fault("database restarted", "database", faults.database_restart),
    Fault("connections cut", "database", faults.connections_cut),
    Fault("locks held", "database", faults.lock_wait),
    Fault("snapshot held", "snapshot", faults.held_snapshot),
]

#: Where one process is web server, worker and dispatcher.
EMBEDDED = [
    *(
        Fault(f"{role} killed at {point}", f"{role} point", faults.killed_at(role, point))
        for role, points in (("up", [*POINTS["worker"], "dispatch.marked"]), ("load", _ENGINE))
        for point in points
    ),
    Fault("up killed", "up", faults.killed("up")),
    Fault("up ended", "up", faults.end_up),
    Fault("up paused", "up", faults.pause_up),
    Fault("callers killed", "load", faults.killed("load")),
    Fault("poison", "load", faults.wish("poison")),
    Fault("slow beside quick", "load", faults.wish("burst")),
    Fault("upstream refuses", "upstream", faults.refusing_upstream),
]
