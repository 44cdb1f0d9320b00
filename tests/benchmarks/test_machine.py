"""The benchmark's description of the machine, and what it does where a program is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.row import NotRun
from benchmarks.stage import Stage
from tests.support import own_brokers


def test_rabbitmqctl_that_is_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The page says that it is not here, and rows that need RabbitMQ are not run: the others are."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(own_brokers, "SYSTEM_FOLDERS", ())
    assert machine._rabbitmq() == "not here (no rabbitmqctl)"
    with pytest.raises(NotRun, match="RabbitMQ"), Stage("postgresql://nowhere/").site():
        pass


def test_rabbitmqctl_that_is_not_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is found where packages put it."""
    program = tmp_path / "rabbitmqctl"
    program.write_text("#!/bin/sh\necho 9.9.9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(own_brokers, "SYSTEM_FOLDERS", (str(tmp_path),))
    assert machine._rabbitmq() == "9.9.9, quorum queues, publisher confirms"
