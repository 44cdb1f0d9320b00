"""What the seeds' own code loses under load: items that come in while a batch is on its way."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from project.demo.processes import wait_for
from tests.support.up_process import PATIENCE, START, Up, up
from tests.support.upstream import Answer, Upstream

pytestmark = pytest.mark.chaos

RATE = 200
SECONDS = 20
CLIENTS = 8
CONFIGURE = (
    "from datetime import timedelta; from batcher.models import Batcher; "
    "Batcher.objects.get_by_name('load').configure(upstream_url={url!r}, window=timedelta(seconds=1)); print('{{}}')"
)


def test_nothing_is_lost_while_a_batch_is_on_its_way(tmp_path: Path) -> None:
    """200 items/s for 20 s into one Batcher, the upstream taking 500 ms: what is accepted arrives, once, in order.

    The original runtime with the seeds' code loses 34 to 52 % of them.
    """
    with Upstream() as upstream, up(tmp_path) as running:
        upstream.default = Answer(delay=0.5)
        with running.client(), running.python("configure", "manage.py", "shell", "-v", "0", "-c",
                                              CONFIGURE.format(url=upstream.url)) as configured:  # fmt: skip
            configured.ready(START)
        accepted = pour(running)
        assert len(accepted) >= 0.975 * RATE * SECONDS
        wait_for("all to arrive", lambda: len(set(upstream.items)), seconds=60, until=lambda n: n >= len(accepted))
        contents = {(request.key, json.dumps(request.items)) for request in upstream.received}
    print(f"\naccepted {len(accepted)}, arrived {len(upstream.items)}, batches {len(contents)}")
    assert Counter(upstream.items) == Counter(accepted)
    assert len(contents) == len({key for key, _ in contents}), "a key with two contents"


def pour(running: Up) -> list[str]:
    """Send ``RATE`` items per second from several clients, open loop; those that were answered with 200."""
    accepted: list[str] = []
    began = time.monotonic()

    def client(number: int) -> None:
        with running.client() as http:
            for count in range(number, RATE * SECONDS, CLIENTS):
                time.sleep(max(began + count / RATE - time.monotonic(), 0))
                try:
                    answer = http.post("/batcher/load", content=f"item {count}".encode(), timeout=PATIENCE)
                except httpx.HTTPError:
                    continue
                if answer.status_code == 200:
                    accepted.append(f"item {count}")

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS + 60)
    return accepted
