"""What a process is called, and whether another one of that name is gone: only what is certain counts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from durable_objects import process

#: Says its name and waits to be asked whether one is gone, line by line.
TALK = """
import sys
from durable_objects import process
print(process.name(), flush=True)
for line in sys.stdin:
    print(process.is_gone(line.strip()), flush=True)
"""
ELSEWHERE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]


@contextmanager
def talking(*prefix: str) -> Iterator[subprocess.Popen[str]]:
    """A process that answers."""
    command = [*prefix, sys.executable, "-c", TALK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as talker:
        yield talker
        assert talker.stdin is not None
        talker.stdin.close()


def answer(talker: subprocess.Popen[str]) -> str:
    """Its next line."""
    assert talker.stdout is not None
    return talker.stdout.readline().strip()


def asked(talker: subprocess.Popen[str], name: str) -> str:
    """What it answers to this name."""
    assert talker.stdin is not None
    talker.stdin.write(f"{name}\n")
    talker.stdin.flush()
    return answer(talker)


def test_name_is_read_as_host_and_pid() -> None:
    """Host first, process id last, and never too long for its column."""
    assert process.name().startswith(socket.gethostname()[:80])
    assert process.name().endswith(f":{os.getpid()}")


def test_longest_name_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the host is called."""
    monkeypatch.setattr(socket, "gethostname", lambda: "h" * 300)
    monkeypatch.setattr(os, "getpid", lambda: 2**31)
    assert len(process.name()) <= 100


def test_process_of_here_is_gone_once_it_has_ended() -> None:
    """Alive it is not, and its end is certain at once."""
    with talking() as talker:
        name = answer(talker)
        assert not process.is_gone(name)
        assert asked(talker, process.name()) == "False"
    assert process.is_gone(name)


def test_living_process_of_another_container_is_not_gone() -> None:
    """One of another PID namespace, with the same host name, has ids of its own: nobody is certain of the other."""
    allowed = shutil.which("unshare") and not subprocess.run([*ELSEWHERE, "true"], check=False).returncode
    if not allowed:
        pytest.skip("this system lets nobody make a PID namespace")
    with talking(*ELSEWHERE) as talker:
        name = answer(talker)
        assert name.startswith(socket.gethostname()[:80])
        assert not process.is_gone(name)
        free = f"{name.rpartition(':')[0]}:{2**22 + 1}"
        assert not process.is_gone(free), "an id that is not given here may be given there"
        assert asked(talker, process.name()) == "False"
        assert asked(talker, free) == "True"


def test_another_host_of_the_same_name_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was started at another time, and so has another name."""
    monkeypatch.setattr(process, "_boot", lambda: "another one's")
    with talking() as talker:
        name = answer(talker)
    assert not process.is_gone(name)
