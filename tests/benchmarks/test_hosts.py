"""What row 20 says of hosts and of who paid for an alarm."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.busy import Shares, _is_from_here, microseconds, watched
from benchmarks.hosts import on_host


def test_share_of_all_processors_becomes_what_one_piece_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of two processors for two seconds is a second of one: a millisecond for each of a thousand."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert microseconds({"ours": 0.25, "PostgreSQL": 0.5}, 2.0, 1_000) == {"ours": 1_000, "PostgreSQL": 2_000}


def test_hosts_get_the_cores_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where this process may use some only: the third of two cores is the first again."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 1})
    codes = [on_host("there", ["-c", "pass"], core=number)[1] for number in range(3)]
    assert ["'taskset', '-c', '1'" in code for code in codes] == [True, False, True]
    assert ["'taskset', '-c', '3'" in code for code in codes] == [False, True, False]


def test_only_what_was_started_here_is_ours() -> None:
    """Whatever else of Python the machine runs meanwhile: the chain of parents says so."""
    here, spinning = os.getpid(), "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass"
    found = {here: ("python", ["S", "1"]), 2: ("python", ["R", str(here)]), 3: ("python", ["R", "2"])}
    found |= {4: ("python", ["R", "1"]), 1: ("init", ["S", "0"])}
    assert [_is_from_here(pid, found) for pid in (here, 2, 3, 4)] == [True, True, True, False]
    shares: list[Shares] = []
    with watched(shares):
        subprocess.run([sys.executable, "-c", spinning.format(0.3)], check=True)
    assert shares[0]["ours"] > 0
