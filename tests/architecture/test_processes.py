"""The tests' own processes: one that ends by itself is reported, whoever started it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from project.demo.processes import Child, Failure, clean_environment
from tests.support.site_processes import Process, Site

ENDS = ["-c", "raise SystemExit(3)"]
DONE = ["-c", "print('{}')"]
LIVES = ["-c", "import signal; print('{}', flush=True); signal.pause()"]
#: A pool: ends when the process that it has forked does.
FORKS = [
    "-c",
    "import os, signal\nchild = os.fork()\nif not child: signal.pause()\nprint('{}', flush=True)\nos.wait()\nexit(1)",
]


def site_in(folder: Path) -> Site:
    """A site without a database or a broker."""
    return Site(folder, "sqlite://", "memory://")


def gone(process: Child) -> None:
    """Wait until it has ended, without the harness expecting it."""
    process._process.wait(20)


def in_a_site(folder: Path, command: list[str], *, brief: bool = False) -> None:
    """A site's process that ends while the test goes on."""
    with site_in(folder) as site:
        gone((site.brief if brief else site.start)("worker", *command))


def in_a_block(folder: Path, command: list[str]) -> None:
    """The same outside of any site."""
    with Child("worker", command, folder, folder, clean_environment()) as child:
        gone(child)


def pool_of_one(folder: Path) -> None:
    """A child is killed, and its parent ends."""
    with site_in(folder) as site:
        parent: Process = site.start("worker", *FORKS)
        parent.ready(20)
        parent.signal(signal.SIGKILL, parent.children()[0])
        gone(parent)


def with_an_error_of_its_own(folder: Path) -> None:
    """The test fails, and a process has ended as well."""
    with site_in(folder) as site:
        gone(site.start("worker", *ENDS))
        raise ZeroDivisionError


@pytest.mark.parametrize(("command", "code"), [(ENDS, 3), (DONE, 0)], ids=["with an error", "with 0"])
def test_a_process_that_ends_by_itself_fails_its_block(tmp_path: Path, command: list[str], code: int) -> None:
    """A process that is to live until it is stopped is a failure when it does not, whatever its exit code."""
    with pytest.raises(Failure, match=f"ended by itself with {code}"):
        in_a_block(tmp_path, command)
    with pytest.raises(AssertionError, match=f"'worker': {code}"):
        in_a_site(tmp_path, command)


def test_what_is_told_to_end_may_end(tmp_path: Path) -> None:
    """Killed, stopped, signalled or waited for: no failure."""
    with site_in(tmp_path) as site:
        killed, stopped, signalled = (site.start(name, *LIVES) for name in ("killed", "stopped", "signalled"))
        for process in (killed, stopped, signalled):
            process.ready(20)
        killed.kill()
        stopped.stop()
        signalled.signal(signal.SIGTERM)
        assert site.start("awaited", *ENDS).ended(20) == 3


def test_what_is_brief_may_end_well(tmp_path: Path) -> None:
    """A process whose work has an end may end with 0, and with nothing else."""
    in_a_site(tmp_path, DONE, brief=True)
    with pytest.raises(AssertionError, match="'worker': 3"):
        in_a_site(tmp_path, ENDS, brief=True)


def test_the_end_of_a_child_that_was_killed_is_not_its_parents(tmp_path: Path) -> None:
    """A parent that ends after a process of its pool was killed has ended by itself."""
    with pytest.raises(AssertionError, match="'worker': 1"):
        pool_of_one(tmp_path)


def test_an_error_of_the_test_is_not_hidden(tmp_path: Path) -> None:
    """Where the block fails anyway, that is what is reported."""
    with pytest.raises(ZeroDivisionError):
        with_an_error_of_its_own(tmp_path)
