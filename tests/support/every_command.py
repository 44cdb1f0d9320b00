"""Every verb of every command, one after the other in this process; prints what became of each as a line of JSON.

``python -m tests.support.every_command VERB…`` leaves out the commands that begin so (``up``: it would go on for ever).
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys

import django
from django.conf import settings
from django.core.management import ManagementUtility

VERBS = [
    "alarms list",
    "alarms explain batcher.Batcher a",
    "alarms run batcher.Batcher a",
    "alarms run --all --yes",
    "alarms move batcher.Batcher a 90",
    "alarms move --all --yes 90",
    "alarms cancel batcher.Batcher a",
    "alarms cancel --all --yes",
    "alarms revive batcher.Batcher a",
    "alarms revive --all --yes",
    "alarms pause batcher.Batcher a",
    "alarms drain batcher.Batcher a --within 1",
    "alarms pauses",
    "alarms resume batcher.Batcher a",
    "alarms from_beat",
    "alarms dispatch",
    "alarms doctor",
    "alarms doctor --fix",
    "operations start run --where state:armed --yes",
    "operations list",
    "operations late",
    "operations drain batcher.Batcher --rate 5 --yes",
    "operations show 1",
    "operations stop 1",
    "operations resume 1",
    "objects list",
    "objects list batcher.Batcher",
    "objects show batcher.Batcher a",
    "objects call batcher.Batcher a queued",
    "objects delete batcher.Batcher a --yes",
    "objects export",
    "objects import -",
    "objects import - --dry-run",
    "objects copy batcher.Batcher a b",
    "objects snapshot batcher.Batcher a",
    "objects restore -",
    "batcher list",
    "batcher add a item",
    "batcher add a -",
    "batcher show a",
    "batcher flush a",
    "batcher cancel a",
    "batcher replay a",
    "batcher fail a 6f1c64c9-9b35-4f0e-9c0b-0f4d5a1de3a1",
    "batcher receipt a 17",
    "batcher configure a window=30",
    "cleaner start a",
    "cleaner run a",
    "cleaner run a --dry-run",
    "cleaner show a",
    "cleaner stop a",
    "cleaner list",
    "reminders set a text 2036-06-01T09:00+02:00",
    "reminders list",
    "reminders show a",
    "reminders cancel a",
    "reminders snooze a 20m",
    "reminders digest a",
    "tokens create a --scope metrics:read",
    "tokens list",
    "tokens revoke do_a",
    "up --port 0",
]
INPUT = '{"format": "durable_objects/1"}\n{"kind": "batcher.batcher", "name": "a", "fields": {}, "alarm": null}\n'


def run(parts: list[str], *, is_json: bool = True) -> dict[str, object]:
    """One command line: its exit code and what it wrote."""
    arguments = [*parts, *(["--json"] if is_json else []), "--skip-checks"]  # which takes half a second each time
    streams = sys.stdin, sys.stdout, sys.stderr
    out, err = io.StringIO(), io.StringIO()
    sys.stdin, sys.stdout, sys.stderr = io.StringIO(INPUT), out, err
    code: object = 0
    try:
        ManagementUtility(["manage.py", *arguments]).execute()
    except SystemExit as ended:
        code = ended.code
    except BaseException as error:  # noqa: BLE001  what a person would see as a traceback
        code = f"{type(error).__module__}.{type(error).__name__}: {error}"
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
    return {"verb": " ".join(parts), "code": code, "out": out.getvalue(), "err": err.getvalue()}


def main(left_out: list[str]) -> None:
    """Run them all."""
    signal.alarm(280)
    if timeout := os.environ.get("SQLITE_TIMEOUT"):
        settings.DATABASES["default"]["OPTIONS"]["timeout"] = float(timeout)
    django.setup()
    for line in VERBS:
        if not any(line.startswith(verb) for verb in left_out):
            print(json.dumps(run(line.split())), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
