"""The parts of the demonstration (the whole is ``make demo``): it must not say "all seen" of what it did not see."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from project.demo.input import AT_MOST, input_lines
from project.demo.processes import Child, Failure, clean_environment, wait_for
from project.demo.story import same_items
from project.demo.upstream import upstream_on


def test_the_lines_of_a_given_file(tmp_path: Path) -> None:
    """The lines of DEMO_INPUT go in as they are, in whatever encoding, without the empty ones, up to a limit."""
    file = tmp_path / "input.txt"
    file.write_bytes(b"one\r\n\n  two\t\xff\n" + b"more\n" * AT_MOST)
    source, lines = input_lines(str(file), tmp_path)
    assert source == str(file)
    assert lines[:3] == ["one", "  two\t\N{REPLACEMENT CHARACTER}", "more"]
    assert len(lines) == AT_MOST


def test_without_git_the_changelog_goes_in(tmp_path: Path) -> None:
    """Where git has no log to give, the input is the CHANGELOG."""
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n", "utf-8")
    assert input_lines(None, tmp_path) == ("CHANGELOG.md", ["# Changes"])


def test_input_that_is_no_use(tmp_path: Path) -> None:
    """A file that is not there or has nothing in it is refused with its name."""
    (tmp_path / "empty").write_text("\n \n", "utf-8")
    with pytest.raises(ValueError, match="empty has no line"):
        input_lines(str(tmp_path / "empty"), tmp_path)
    with pytest.raises(FileNotFoundError, match="missing"):
        input_lines(str(tmp_path / "missing"), tmp_path)


def test_the_upstream_refuses_first_and_writes_all_down(tmp_path: Path) -> None:
    """The first post is answered 503, the others 200, and the file has every one with its key and its answer."""
    server = upstream_on(tmp_path / "got.jsonl")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        for key in ("k", "k", "l"):
            url = f"http://127.0.0.1:{server.server_address[1]}/"
            httpx.post(url, json={"items": [key]}, headers={"Idempotency-Key": key}, trust_env=False)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    got = [json.loads(line) for line in (tmp_path / "got.jsonl").read_text("utf-8").splitlines()]
    assert [(post["key"], post["status"]) for post in got] == [("k", 503), ("k", 200), ("l", 200)]
    assert got[2]["body"] == {"items": ["l"]}


@pytest.mark.parametrize("items", [None, [], ["a"], ["b", "a"], ["a", "b", "b"], "ab"])
def test_other_items_than_the_accepted_ones_are_a_failure(items: Any) -> None:
    """One missing, one too many or another order is not what was accepted."""
    same_items("the post", {"body": {"items": ["a", "b"]}}, ["a", "b"])
    with pytest.raises(Failure, match="expected the post to carry the 2 accepted items"):
        same_items("the post", {"body": {"items": items}}, ["a", "b"])


def test_a_wait_ends() -> None:
    """What is never seen is a failure that says what was expected and what was there."""
    assert wait_for("a one", lambda: 1, seconds=1) == 1
    with pytest.raises(Failure, match=r"expected a two within 0 s, last seen: 1"):
        wait_for("a two", lambda: 1, seconds=0, until=lambda seen: seen == 2)


def test_the_callers_environment_stays_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demonstration's processes see none of the variables that would point them elsewhere."""
    for name in ("DATABASE_URL", "DJANGO_SETTINGS_MODULE", "CELERY_BROKER_URL", "PYTHONPATH", "API_TOKENS"):
        monkeypatch.setenv(name, "the caller's")
    environment = clean_environment(DEBUG="1")
    assert "the caller's" not in environment.values()
    assert environment["DEBUG"] == "1"
    assert environment["PATH"] == os.environ["PATH"]


def test_a_process_that_does_not_start_is_a_failure(tmp_path: Path) -> None:
    """Waiting for a process that has ended returns its exit code at once."""
    environment = clean_environment()
    with (
        Child("broken", ["-c", "raise SystemExit(3)"], tmp_path, tmp_path, environment) as child,
        pytest.raises(Failure, match="expected the broken to start, it ended with 3"),
    ):
        child.ready(30)
