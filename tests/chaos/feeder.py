"""A process that adds items to batchers and sets alarms, until it is ended: ``python -m tests.chaos.feeder PLAN``.

PLAN is JSON: ``url`` (the upstream), ``batchers`` (how many), ``items`` (per second), ``witnesses`` (new ones per
second), ``plan`` (theirs). Writes one JSON line per accepted item, after the call returned, and per refused one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import django


def feed(plan: dict[str, Any]) -> None:
    """Add and set, evenly spread; an error is written down, and the work goes on."""
    from batcher.models import Batcher
    from tests.models import Witness

    batchers = [Batcher.objects.get_by_name(f"batcher {number}") for number in range(plan["batchers"])]
    for batcher in batchers:
        batcher.configure(upstream_url=plan["url"], window=timedelta(seconds=1))
    began, items, witnesses = time.monotonic(), 0, 0
    print(json.dumps({"ready": True}), flush=True)
    while True:
        passed = time.monotonic() - began
        if witnesses < passed * plan["witnesses"]:
            name = f"witness {witnesses}"
            witnesses += 1
            wake = Witness.objects.get_by_name(name).wake_at
            attempt("witness", name, partial(wake, timedelta(0), **plan["plan"]))
        elif items < passed * plan["items"]:
            item, batcher = f"item {items}", batchers[items % len(batchers)]
            items += 1
            attempt("item", item, partial(batcher.add_item, item))
        else:
            time.sleep(0.01)


def attempt(what: str, name: str, do: Callable[[], object]) -> None:
    """Do it as a request would: on a connection that was asked whether it still works."""
    from django.core.signals import request_finished, request_started

    request_started.send(attempt)
    at = time.time()
    try:
        do()
        print(json.dumps({what: name, "at": at}), flush=True)
    except Exception as error:  # noqa: BLE001  what a client would be told; it was not accepted then
        print(json.dumps({"refused": name, "at": at, "error": repr(error)[:200]}), flush=True)
        time.sleep(0.1)
    request_finished.send(attempt)


if __name__ == "__main__":
    django.setup()
    feed(json.loads(sys.argv[1]))
