"""The machine that the figures come from, and what ran on it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

from django.db import connection

from benchmarks.stage import PROCESSES
from tests.support.own_brokers import rabbitmqctl


def describe() -> dict[str, str]:
    """Words for the page's head."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT version(), current_setting('fsync'), current_setting('synchronous_commit'), "
            "current_setting('shared_buffers')"
        )
        version, fsync, commit, buffers = cursor.fetchone()
    return {
        "processor": f"{os.cpu_count()} x {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "processes of a worker": str(PROCESSES),
        "python": platform.python_version(),
        "django": metadata.version("django"),
        "celery": metadata.version("celery"),
        "psycopg": metadata.version("psycopg"),
        "postgresql": f"{version.split()[1]}, fsync {fsync}, synchronous_commit {commit}, shared_buffers {buffers}",
        "rabbitmq": _rabbitmq(),
    }


def _processor() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _rabbitmq() -> str:
    program = rabbitmqctl()
    if program is None:
        return "not here (no rabbitmqctl)"
    asked = subprocess.run([program, "version"], capture_output=True, text=True, check=False)
    return f"{asked.stdout.strip() or 'unknown'}, quorum queues, publisher confirms"
