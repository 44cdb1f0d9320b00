"""Everything at once: all faults, from a seed, on all processes, and every promise judged afterwards."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from tests.chaos.host import Host
from tests.chaos.own_postgres import OwnPair, OwnPostgres
from tests.chaos.storm import checker, driver, record, state
from tests.chaos.storm.evidence import Evidence
from tests.chaos.storm.fault_list import BROKERS, EMBEDDED, SERVERS, SPLIT, STANDBY
from tests.chaos.storm.fleet import AWAY, Fleet
from tests.chaos.storm.scene import LEASE, Fault, Scene, ServerScene
from tests.support.own_brokers import OwnRabbitServer, OwnRedis
from tests.support.site_processes import Site
from tests.support.tcp_proxy import TcpProxy
from tests.support.upstream import Upstream

pytestmark = pytest.mark.chaos

MINUTES = float(os.environ.get("CHAOS_MINUTES") or 3)
SEED = int(os.environ.get("CHAOS_SEED") or time.time())
#: Seconds between two faults; orders per second.
PACE = float(os.environ.get("CHAOS_PACE") or 4)
RATE = float(os.environ.get("CHAOS_RATE") or 20)
#: Only the kinds that begin so, say "database restarted" or "worker,table".
KINDS = tuple((os.environ.get("CHAOS_KINDS") or "").split(","))
#: Where the figures go, beside the terminal.
REPORT = os.environ.get("CHAOS_REPORT") or "var/chaos-{broker}.json"
#: From this long a run on, each fault comes once by itself first.
MINUTES_FOR_ALONE = 20.0
SECONDS_ALONE = 360.0

PROCESSES = ["worker-prefork", "worker-threads", "worker-threads2", "dispatcher1", "dispatcher2", "web"]
ENGINE = {"LEASE": LEASE, "DISPATCH_EVERY": 1, "HISTORY_PER_OBJECT": 1_000_000}


@dataclass(frozen=True)
class Kind:
    """What a storm is made on, by its name, and the faults that are possible there beside those of all servers."""

    name: str
    faults: list[Fault]

    @contextmanager
    def scene(self, folder: Path) -> Iterator[ServerScene]:
        """The servers, and the processes on them, ready."""
        with ExitStack() as stack:
            upstream = stack.enter_context(Upstream())
            host = stack.enter_context(Host()) if self.name == "split" else None
            near = list(host.gateway.values()) if host else []
            postgres = stack.enter_context(OwnPair() if self.name == "standby" else OwnPostgres(*near))
            own: OwnRedis | OwnRabbitServer = OwnRabbitServer() if self.name == "rabbitmq" else OwnRedis(folder, *near)
            stack.enter_context(own)
            wire = TcpProxy(own.port)
            stack.callback(wire.stop)
            url = own.url.replace(str(own.port), str(wire.port))
            settings, engine, load = settings_for(upstream), ENGINE, {"rate": RATE, "items": 4, "dead": MINUTES > 5}
            if self.name in {"together", "messages"}:
                settings[f"CHAOS_{self.name.upper()}"] = "1"
                # The dispatcher rings for most of them, and so for several at once; few objects for many callers.
                engine, load = ENGINE | {"HORIZON": 1}, load | {"subjects": 60, "threads": 8}
            if host:
                posts = TcpProxy(upstream.port, host.gateway["broker"])
                stack.callback(posts.stop)
                host.reaches(postgres.url, own.url, posts.port, settings["BATCHER"])
            site = stack.enter_context(Site(folder, postgres.url, url, engine=engine, **settings)).migrate()
            fleet = Fleet(site, load, host=host)
            record.begin(fleet.history, "driver")
            for name in [*PROCESSES, *([AWAY] if host else [])]:
                fleet.start(name)
            for name in fleet.workers:
                fleet.wait_until_ready(name)
            fleet.start("load")
            ask = partial(state.ask_postgresql, postgres.url)
            yield ServerScene(fleet, upstream, random.Random(SEED), ask, postgres, own, wire)


KINDS_OF_STORM = [
    Kind("redis", BROKERS["redis"]),
    Kind("rabbitmq", BROKERS["rabbitmq"]),
    Kind("together", BROKERS["redis"]),
    Kind("messages", BROKERS["redis"]),
    Kind("standby", [*BROKERS["redis"], *STANDBY]),
    Kind("split", [*BROKERS["redis"], *SPLIT]),
]


@pytest.mark.parametrize("kind", KINDS_OF_STORM, ids=lambda kind: kind.name)
def test_a_storm(tmp_path: Path, kind: Kind, say: Callable[[str], None]) -> None:
    """Random faults for CHAOS_MINUTES: nothing lost, early, overlapping, miscounted, dead without the handler's fault,
    ended by itself or under two contents.

    ``together``: on Redis, with alarms in groups and combined calls; ``messages``: with alarms that share messages;
    ``standby``: with a synchronous standby that is promoted; ``split``: with a worker on a host of its own that is cut
    off.
    """
    say(f"CHAOS_SEED={SEED} CHAOS_MINUTES={MINUTES:g} CHAOS_PACE={PACE:g} on {kind.name}")
    faults = [fault for fault in [*SERVERS, *kind.faults] if fault.kind.startswith(KINDS)]
    with kind.scene(tmp_path) as scene:
        run = driver.Driver(scene, faults, pace=PACE)
        run.run(MINUTES * 60, alone=SECONDS_ALONE if MINUTES >= MINUTES_FOR_ALONE else 0)
        drained = run.drain()
        evidence = run.evidence()
    judge(run, evidence, say, broker=kind.name, drained=drained)


def test_a_storm_on_the_embedded_default(tmp_path: Path, say: Callable[[str], None]) -> None:
    """Likewise where one process is web server, worker and dispatcher, with SQLite and a broker in its memory."""
    say(f"CHAOS_SEED={SEED} CHAOS_MINUTES={MINUTES:g} CHAOS_PACE={PACE:g} on the embedded default")
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream())
        database = tmp_path / "site.sqlite3"
        settings = settings_for(upstream)
        site = stack.enter_context(Site(tmp_path, f"sqlite:///{database}", "memory://", engine=ENGINE, **settings))
        fleet = Fleet(site.migrate(), {"rate": RATE / 4, "items": 1, "dead": MINUTES > 5})
        record.begin(fleet.history, "driver")
        fleet.start("up").ready(60)
        fleet.start("load")
        scene = Scene(fleet, upstream, random.Random(SEED), partial(state.ask_sqlite, database))
        faults = [fault for fault in EMBEDDED if fault.kind.startswith(KINDS)]
        run = driver.Driver(scene, faults, pace=PACE)
        run.run(MINUTES * 60)
        drained = run.drain()
        evidence = run.evidence()
    judge(run, evidence, say, broker="embedded", drained=drained)


def tree_of(folder: Path) -> str:
    """The commit that is tried, with a ``+`` when files were changed since; ``-`` where there is no history."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "-"


def settings_for(upstream: Upstream) -> dict[str, str]:
    """The environment that every process has."""
    batcher = json.dumps({"UPSTREAM_URL": upstream.url, "WINDOW": 1, "TIMEOUT": 3})
    return {"DJANGO_SETTINGS_MODULE": "tests.chaos.settings", "LOST_AFTER": "3", "BATCHER": batcher}


def judge(run: driver.Driver, evidence: Evidence, say: Callable[[str], None], *, broker: str, drained: bool) -> None:
    """Write the figures down, then fail for whatever was broken."""
    found = checker.check(evidence)
    rules = Counter(violation.rule for violation in found)
    date, tree = datetime.now(UTC).date().isoformat(), tree_of(Path(__file__).parent)
    given = {"broker": broker, "seed": SEED, "minutes": MINUTES, "date": date, "tree": tree}
    figures = driver.summary(run, evidence, rules.__getitem__, drained=drained, broken=dict(rules), **given)
    report = Path(REPORT.format(broker=broker))
    report.parent.mkdir(exist_ok=True)
    report.write_text(json.dumps(figures, indent=1) + "\n")
    say(json.dumps(figures))
    if run.errors:
        raise run.errors[0]
    assert drained, f"still armed: {evidence.armed}"
    assert not found, "\n".join(f"{violation.rule}: {violation.what}" for violation in found[:50])
