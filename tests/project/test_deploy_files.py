"""The files of docs/deploy: a board and alert rules over figures that there are, probes that answer."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from batcher.models import Batcher
from durable_objects import AlarmInfo, prometheus
from durable_objects.database import clock
from durable_objects.delivery import processes
from durable_objects.testing import FakeClock, run_due_alarms
from tests.models import Script, Scripted

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "docs" / "deploy"
_SELECTOR = re.compile(r"\b((?:durable_objects|batcher)_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')
_GROUPED = re.compile(r"\bby \(([^)]*)\)")
#: Labels that Prometheus adds to what it scrapes.
ADDED = {"instance", "job"}

Sample = tuple[str, dict[str, str]]


def expressions() -> list[str]:
    """Each expression of the board and of the alert rules."""
    board = json.loads((DEPLOY / "grafana.json").read_text("utf-8"))
    rules = yaml.safe_load((DEPLOY / "prometheus-rules.yaml").read_text("utf-8"))
    return [
        *(target["expr"] for panel in board["panels"] for target in panel["targets"]),
        *(rule["expr"] for group in rules["groups"] for rule in group["rules"]),
    ]


def fail(obj: Scripted, info: AlarmInfo) -> None:
    """Fail, as a handler does."""
    raise ValueError("again")


def scraped() -> list[Sample]:
    """Each sample that a site gives which has been at work: name and labels."""
    Scripted.script = Script()
    Scripted.script.alarm = fail
    with FakeClock() as now:
        Scripted.objects.get_by_name("a").storage.set_alarm(timedelta(0))
        Batcher.objects.get_by_name("orders").add_item("tea")
        now.advance(timedelta(minutes=5))
        run_due_alarms()
        processes.sign(clock.now(), refused=False)
        text = prometheus.exposition().decode()
    return [(each.name, each.labels) for family in text_string_to_metric_families(text) for each in family.samples]


def unknown(expression: str, samples: list[Sample]) -> Iterator[str]:
    """What an expression asks for and no sample has: a metric, a label, a label's value."""
    names = {name for name, _ in samples}
    labels: set[str] = set()
    for name, matchers in _SELECTOR.findall(expression):
        if name not in names:
            yield f"the metric {name}"
        there = [given for each, given in samples if each == name]
        labels |= {label for given in there for label in given}
        for label, operator, wanted in _MATCHER.findall(matchers):
            if not any(label in given for given in there):
                yield f"the label {label} of {name}"
            if operator == "=" and not any(given.get(label) == wanted for given in there):
                yield f"{name} with {label}={wanted}"
            if operator == "=~" and not any(re.fullmatch(wanted, given.get(label, "")) for given in there):
                yield f"{name} with {label}=~{wanted}"
    for listed in _GROUPED.findall(expression):
        yield from (f"the label {label}" for label in re.findall(r"\w+", listed) if label not in labels | ADDED)


def test_the_board_and_the_alert_rules_ask_for_figures_that_there_are() -> None:
    """Every metric, label and value that an expression names is in what /metrics answers."""
    samples = scraped()
    assert len(expressions()) >= 20
    assert {each: found for each in expressions() if (found := list(unknown(each, samples)))} == {}


@pytest.mark.parametrize(
    ("expression", "missing"),
    [
        ("max(durable_objects_gone)", ["the metric durable_objects_gone"]),
        ('durable_objects_alarms{state="lost"}', ["durable_objects_alarms with state=lost"]),
        ('durable_objects_alarms{kind="dead"}', ["the label kind of durable_objects_alarms"]),
        ("max by (kind) (durable_objects_alarms)", ["the label kind"]),
        ("max by (state) (durable_objects_alarms)", []),
    ],
)
def test_an_expression_that_asks_for_more_is_found(expression: str, missing: list[str]) -> None:
    """The rule above sees a metric, a label and a value that are not there."""
    assert list(unknown(expression, scraped()))[:1] == missing


@pytest.mark.skipif(
    shutil.which("promtool") is None and "CI" not in os.environ, reason="needs promtool: Debian's package prometheus"
)
def test_the_alert_rules_fire_when_they_should() -> None:
    """Prometheus' own tool reads the rules, and finds each alert of the test file firing at its time."""
    for verb, file in (("check", "prometheus-rules.yaml"), ("test", "prometheus-rules.test.yaml")):
        ran = subprocess.run(
            ["promtool", verb, "rules", str(DEPLOY / file)], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def containers() -> dict[str, dict[str, Any]]:
    """The containers of the Kubernetes manifests by name."""
    documents = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8"))
    return {
        container["name"]: container
        for document in documents
        if document["kind"] in {"Deployment", "Job"}
        for container in document["spec"]["template"]["spec"]["containers"]
    }


def test_probes_answer_and_do_not_restart_a_process_for_late_alarms(client: Client) -> None:
    """Kubernetes asks /live and /ready, which are there; /health is no probe; what has no HTTP has none."""
    probes = {
        name: {kind: each[kind]["httpGet"]["path"] for kind in each if kind.endswith("Probe")}
        for name, each in containers().items()
    }
    assert probes == {
        "web": {"livenessProbe": "/live", "readinessProbe": "/ready"}, "worker": {}, "dispatcher": {}, "migrate": {}
    }  # fmt: skip
    assert client.get("/live").status_code == 200
    assert "status" in client.get("/ready").json()


def test_units_and_manifests_start_the_same_processes() -> None:
    """Worker and dispatcher have the same command under systemd and on Kubernetes, and time to end what runs."""
    for name in ("worker", "dispatcher"):
        unit = (ROOT / "docs" / "systemd" / f"site-{name}.service").read_text("utf-8")
        command = re.search(r"^ExecStart=/srv/site/.venv/bin/(.*)$", unit, re.MULTILINE)
        assert command is not None
        assert containers()[name]["command"] == shlex.split(command[1])
        assert "TimeoutStopSec=60" in unit


def test_the_proxy_lets_the_site_answer_what_is_too_large() -> None:
    """It takes more than the site's own limit of 1 MiB, buffers requests, and overwrites what clients may not say."""
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    assert "client_max_body_size 2m;" in text
    assert "proxy_request_buffering on;" in text
    for header in ("Host $host", "X-Forwarded-Proto $scheme", "X-Forwarded-For $remote_addr"):
        assert f"proxy_set_header {header};" in text


def test_the_texts_that_alerts_may_go_by_are_what_is_logged() -> None:
    """Each message that the guide promises to keep is in the engine's code, word for word."""
    guide = (ROOT / "docs" / "guides" / "deploy.md").read_text("utf-8")
    kept = [text for text in re.findall(r"`([^`\n]+)`", guide) if re.search(r"%[sr]", text)]
    code = "".join(path.read_text("utf-8") for path in (ROOT / "durable_objects").rglob("*.py"))
    assert len(kept) == 4
    assert [text for text in kept if f'"{text}"' not in code] == []
