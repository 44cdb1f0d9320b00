"""Every operation of the running server, called as its description allows and as it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import services
from tests.support.site_processes import TOKEN, Site

pytestmark = pytest.mark.services

#: Cases for each operation: 500 and more for a thorough run, which takes minutes. Fewer of what no description allows:
#: they are slow to find.
CASES = int(os.environ.get("TEST_API_CASES") or 10)
WRONG_CASES = max(CASES // 5, 10)
#: What a description cannot say (that a rule of recurrence has an occurrence, that something is set) is refused by 422.
CONFIG = f"""
hooks = "{Path(__file__).with_name("schemathesis_hooks.py")}"

[checks]
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422", "429"]
"""
#: Beside other operations schemathesis spares what is there to be deleted.
DELETES = ("--phases", "fuzzing", "--include-method", "DELETE")
#: Operations without parameters or a body: schemathesis finds few ways to call them.
ASK_FOR_NOTHING = ("/health", "/ready", "/live", "/metrics")
FUZZING = ("--phases", "coverage,fuzzing")
REPORT = "report.ndjson"


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.chaos), "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """A site on either database; its processes end with the ``with`` block."""
    if request.param == "sqlite":
        return Site(tmp_path, f"sqlite:///{tmp_path / 'db.sqlite3'}", "memory://")
    services.require("postgresql")
    return Site(tmp_path, request.getfixturevalue("postgresql_url"), "memory://")


def test_no_5xx_and_no_other_answer_than_described(site: Site, tmp_path: Path) -> None:
    """With a token and without, nothing gets a 5xx, and each answer is one that the description knows."""
    token = ("--header", f"Authorization: Bearer {TOKEN}")
    with site, site.up(API_FAILURE_RATE="0") as client:
        address = str(client.base_url)
        counts = {
            "as described": call(address, tmp_path, CASES, "--mode", "positive", *token),
            "deletes alone": call(address, tmp_path, CASES, "--mode", "positive", *DELETES, *token),
            "otherwise": call(address, tmp_path, WRONG_CASES, "--mode", "negative", *FUZZING, *token),
            "with junk": Counter({f"GET {path}": pester(client, path) for path in ASK_FOR_NOTHING}),
            "without a token": call(address, tmp_path, CASES, "--mode", "positive", *FUZZING),
        }
        operations = described(client.get("/openapi.json").json())
        log = site.processes[0].text()
    for operation in sorted(operations):
        print(f"\n{operation:<32}", *(f"{mode} {count[operation]}" for mode, count in counts.items()), sep="  ", end="")
    allowed = counts["as described"] + counts["deletes alone"] + counts["with junk"]
    assert [operation for operation in operations if allowed[operation] < CASES] == []
    assert "Traceback" not in log


def pester(client: httpx.Client, path: str) -> int:
    """Send queries, headers and bodies to an operation that asks for none: it answers as ever. How many were sent.

    A ``*`` is left out: in a Content-Type it is refused on every path.
    """
    sent = 0

    @settings(max_examples=CASES, deadline=None, database=None)
    @given(
        query=st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=5),
        header=st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="*"), max_size=50),
        body=st.binary(max_size=200),
    )
    def send(query: dict[str, str], header: str, body: bytes) -> None:
        nonlocal sent
        sent += 1
        headers = {"X-Junk": header, "Accept": header, "Cookie": header, "Content-Type": header}
        answer = client.request("GET", path, params=query, headers=headers, content=body)
        assert answer.status_code == 200, (query, header, body, answer.text)

    send()
    return sent


def call(address: str, folder: Path, cases: int, *options: str) -> Counter[str]:
    """Let schemathesis call every operation; fails with its report. How many cases each operation got."""
    (folder / "schemathesis.toml").write_text(CONFIG)
    (folder / REPORT).unlink(missing_ok=True)
    command = [sys.executable, "-m", "schemathesis.cli", "--no-color", "run", f"{address.rstrip('/')}/openapi.json"]
    command += ["--max-examples", str(cases), "--continue-on-failure", "--generation-database", "none"]
    command += ["--report-ndjson-path", REPORT, "--suppress-health-check", "all", *options]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60 + 2 * CASES, check=False)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    return counted(folder / REPORT)


def counted(report: Path) -> Counter[str]:
    """The cases in a report by operation, as ``GET /path``."""
    found: Counter[str] = Counter()
    for line in report.read_text("utf-8").splitlines():
        finished = json.loads(line).get("ScenarioFinished")
        for case in (finished or {}).get("recorder", {}).get("cases", {}).values():
            found[f"{case['value']['method']} {case['value']['path']}"] += 1
    return found


def described(schema: dict[str, dict[str, dict[str, object]]]) -> set[str]:
    """The operations of a description, as ``GET /path``."""
    return {f"{method.upper()} {path}" for path, methods in schema["paths"].items() for method in methods}
