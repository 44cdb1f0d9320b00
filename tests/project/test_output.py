"""What becomes of a process whose standard output is full, closed, or cannot say a character."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from project.demo.processes import wait_for
from tests.brokers.conftest import own_broker
from tests.support.site_processes import REPOSITORY, SECONDS_TO_START, Site

pytestmark = pytest.mark.slow

WITHIN = 60.0
SECONDS_TO_MIGRATE = 300.0
#: A pass each half second, with something to report: a wake-up that no worker takes is sent again and again.
ENGINE = {"DISPATCH_EVERY": 0.2, "HORIZON": 5}
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this machine has no /dev/full")


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with all tables: to be copied."""
    folder = tmp_path_factory.mktemp("migrated")
    file = folder / "db.sqlite3"
    with Site(folder, f"sqlite:///{file}", "memory://") as site:
        site.manage("migrate", "--verbosity", "0", seconds=SECONDS_TO_MIGRATE)
    return file


@pytest.fixture
def site(migrated: Path, tmp_path: Path) -> Iterator[Site]:
    """An SQLite file with all tables, and a broker that is private to each process."""
    file = tmp_path / "db.sqlite3"
    shutil.copy(migrated, file)
    with Site(tmp_path, f"sqlite:///{file}", "memory://", engine=ENGINE) as site:
        # A process that is not unbuffered finds out at its end, as processes do by default.
        del site.environment["PYTHONUNBUFFERED"]
        yield site


@contextmanager
def full() -> Iterator[dict[str, Any]]:
    """Both streams on a disk that is full."""
    with FULL.open("w") as file:
        yield {"stdout": file, "stderr": file}


@contextmanager
def unread() -> Iterator[dict[str, Any]]:
    """Both streams into a pipe whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield {"stdout": writer, "stderr": writer}
    finally:
        os.close(writer)


@contextmanager
def closed() -> Iterator[dict[str, Any]]:
    """No standard streams at all, as after ``0<&- 1>&- 2>&-``."""
    yield {"preexec_fn": lambda: os.closerange(0, 3)}


STREAMS = [pytest.param(full, marks=needs_full), pytest.param(unread, marks=pytest.mark.chaos), closed]
Streams = Callable[[], contextlib.AbstractContextManager[dict[str, Any]]]


@contextmanager
def started(site: Site, streams: Streams, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A management command with these streams, ended by its id with the block."""
    with streams() as given:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=REPOSITORY, env=site.environment | environment, text=True, **given,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def ended(process: subprocess.Popen[str]) -> int:
    """Its exit code after SIGTERM."""
    process.send_signal(signal.SIGTERM)
    return process.wait(SECONDS_TO_START)


def read(site: Site, query: str) -> list[Any]:
    """What a query gives, read past the engine."""
    file = site.database_url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(query).fetchall()


def passes(site: Site) -> list[Any]:
    """When which process has made its last pass."""
    return read(site, "SELECT process, last_pass_at FROM durable_objects_dispatcher")


@pytest.mark.services("redis")
@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize(
    "form", [pytest.param((), id="text"), pytest.param(("--json",), id="json", marks=pytest.mark.chaos)]
)
def test_a_dispatcher_outlives_its_output(site: Site, streams: Streams, form: Sequence[str], tmp_path: Path) -> None:
    """``alarms dispatch --loop`` passes on whatever becomes of its streams, and ends with 0."""
    site.execute(
        "from datetime import timedelta; from batcher.models import Batcher\n"
        "for number in range(20): Batcher.objects.get_by_name(str(number)).storage.set_alarm(timedelta(seconds=number))"
    )
    with (
        own_broker("redis", tmp_path) as broker,
        started(site, streams, "alarms", "dispatch", "--loop", *form, CELERY_BROKER_URL=broker.url) as process,
    ):
        first = wait_for("a pass", lambda: passes(site), seconds=WITHIN)
        wait_for("another pass", lambda: passes(site), seconds=WITHIN, until=lambda seen: seen > first)
        time.sleep(2)  # it has reported several by now
        assert process.poll() is None
        again = passes(site)
        wait_for("one more pass", lambda: passes(site), seconds=WITHIN, until=lambda seen: seen > again)
        assert ended(process) == 0


@pytest.mark.parametrize("streams", STREAMS)
def test_a_whole_site_outlives_its_output(site: Site, streams: Streams) -> None:
    """``up`` serves and runs alarms whatever becomes of its streams, and ends with 0 when it is asked to."""
    with started(site, streams, "up", "--port", "0", "--no-admin") as process:
        wait_for("a pass", lambda: passes(site), seconds=WITHIN)
        site.execute(
            "from batcher.models import Batcher; batcher = Batcher.objects.get_by_name('a')\n"
            "batcher.configure(window=__import__('datetime').timedelta(0)); batcher.add_item(1)"
        )
        done = "SELECT 1 FROM durable_objects_alarmrun WHERE outcome = 'succeeded'"
        wait_for("the alarm to run", lambda: read(site, done), seconds=WITHIN)
        assert process.poll() is None
        assert ended(process) == 0


def shell(site: Site, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A line of a shell in which ``manage`` is manage.py."""
    script = f'set -o pipefail; manage() {{ "{sys.executable}" manage.py "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", script],
        cwd=REPOSITORY, env=site.environment | environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_reader_that_has_enough_ends_a_command_without_a_word(site: Site) -> None:
    """``alarms list | head -1``: no traceback; the code is that of a process ended by SIGPIPE."""
    site.execute(
        "from datetime import timedelta; from batcher.models import Batcher\n"
        "Batcher.objects.set_alarms({str(number): timedelta(hours=1) for number in range(3000)})"
    )
    done = shell(site, "manage alarms list --limit 3000 | head -1")
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (141, "", 1)
    done = shell(site, "manage objects export --json 2>/dev/null | true")
    assert (done.returncode, done.stderr) == (141, "")
    done = shell(site, "(sleep 3; manage batcher list --json) | true")
    assert (done.returncode, done.stderr) == (141, "")


@needs_full
def test_an_answer_that_cannot_be_written_is_told_in_one_line(site: Site) -> None:
    """A full disk under standard output is an error of the command, in one line; what it was to do is done."""
    done = shell(site, "manage batcher add a item > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "CommandError: standard output cannot be written: No space left on device\n"
    assert "1" in shell(site, "manage batcher show a --json").stdout


def test_missing_streams_change_nothing(site: Site) -> None:
    """A command without any standard stream does its work, all of it, and ends with 0."""
    done = shell(site, "manage batcher add a one two >&- 2>&- <&-")
    assert (done.returncode, done.stderr) == (0, "")
    done = shell(site, "manage alarms cancel --all --yes 2>&-")
    assert (done.returncode, done.stdout) == (0, "1 done\n")


def test_what_an_encoding_cannot_say_is_escaped(site: Site) -> None:
    """With an ASCII output a name in other letters is escaped as in JSON, and JSON stays JSON."""
    name = "grüße-\U0001f600"
    site.execute(f"from batcher.models import Batcher; Batcher.objects.get_by_name({name!r}).add_item('ä')")
    for line in ("objects list batcher.Batcher", "objects show batcher.Batcher", "alarms list", "batcher list"):
        arguments = f"{line} '{name}'" if "show" in line else line
        done = shell(site, f"manage {arguments} && manage {arguments} --json", PYTHONIOENCODING="ascii")
        assert (done.returncode, done.stderr) == (0, ""), line
        assert "gr\\u00fc\\u00dfe-\\ud83d\\ude00" in done.stdout, line
