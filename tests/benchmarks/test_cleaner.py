"""What a cleaner with a million expired entries does to its database, and to those who use it meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.bench, pytest.mark.services("postgresql")]


def test_a_million_of_two(postgresql_url: str) -> None:
    """At least half as fast as one raw DELETE by the same condition, no transaction over 200 ms, memory flat."""
    command = [sys.executable, "-m", "benchmarks.cleaner", "--database", postgresql_url]
    run = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    print(f"\n{run.stdout}")
    figures = json.loads(run.stdout)
    assert figures["of_raw_by_condition"] >= 0.5
    assert max(figures["longest_chunk_ms"], figures["writes_beside"]["longest_transaction_seen_ms"]) <= 200
    assert figures["memory_mib"]["highest"] - figures["memory_mib"]["before"] < 20
