"""The faults that are dealt, each by its name and the part that it hits. Faults on different parts may overlap."""

from __future__ import annotations

from tests.brokers.refusals import REFUSALS
from tests.chaos.storm import broker_faults, database_faults, faults
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

#: What the callers are asked for, beside their usual load.
_WISHES = [
    Fault("poison", "load", faults.wish("poison")),
    Fault("slow beside quick", "load", faults.wish("burst")),
    Fault("busy objects", "load", faults.wish("busy")),
    Fault("handlers end otherwise", "load", faults.wish("endings")),
    Fault("savepoints by hand", "load", faults.wish("savepoints")),
    Fault("sessions left changed", "load", faults.wish("sessions")),
]

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
    *_WISHES,
    Fault("upstream refuses", "upstream", faults.refusing_upstream),
    Fault("no worker", "worker", faults.no_worker),
    Fault("MAX_OUT reached", "dispatcher", faults.few_out),
    Fault("a second up", "second", faults.second_up(CELERY_BROKER_URL="memory://")),
    Fault("broker restarted", "broker", broker_faults.restart),
    Fault("broker frozen", "broker", broker_faults.freeze),
    Fault("broker a black hole", "broker", broker_faults.black_hole),
    Fault("broker emptied", "broker", broker_faults.flush),
    *(Fault(f"messages {way}", "messages", faults.post(way)) for way in ("lost", "doubled", "delayed", "reordered")),
    Fault("database restarted", "database", database_faults.restart),
    Fault("connections cut", "database", database_faults.cut),
    Fault("locks held", "database", database_faults.lock_rows),
    *(
        Fault(f"table {table} locked", "database", database_faults.lock_table(table))
        for table in database_faults.TABLES
    ),
    Fault("short time-outs of the role", "database", database_faults.limit_role),
    Fault("database read-only", "database", database_faults.read_only),
    Fault("no connection left", "database", database_faults.use_up_connections),
    Fault("snapshot held", "snapshot", database_faults.hold_snapshot),
]

#: And what each kind of broker can do besides.
BROKERS = {
    "redis": [
        *(Fault(f"Redis says {answer}", "broker", broker_faults.redis_refuses(answer)) for answer in REFUSALS),
        Fault("Redis hangs up", "broker", broker_faults.redis_hangs_up),
    ],
    "rabbitmq": [
        Fault("RabbitMQ loses its queue", "broker", broker_faults.rabbit_loses_queue),
        Fault("RabbitMQ takes all rights", "broker", broker_faults.rabbit_takes_rights),
        Fault("RabbitMQ blocks publishers", "broker", broker_faults.rabbit_blocks),
        Fault("RabbitMQ hangs up", "broker", broker_faults.rabbit_hangs_up),
    ],
}

#: Where a synchronous standby waits.
STANDBY = [Fault("standby promoted", "database", database_faults.promote)]

#: Where one worker is on a host of its own. Who is cut off from the database for so long may not keep its objects.
SPLIT = [
    Fault("partition", "away", faults.partition("database", "broker")),
    Fault("partition: database", "away", faults.partition("database", longest=40)),
    Fault("partition: broker", "away", faults.partition("broker")),
    Fault("partition: answers", "away", faults.partition("database", "broker", directions=("back",))),
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
    Fault("a second up", "second", faults.second_up()),
    *_WISHES,
    Fault("upstream refuses", "upstream", faults.refusing_upstream),
]
