"""What the demonstration feeds in: the lines of a real file."""

from __future__ import annotations

import subprocess
from pathlib import Path

from project.demo.processes import clean_environment

#: As many lines go in before the batcher's window ends on a slow machine too: each post waits for the disk.
AT_MOST = 150


def input_lines(given: str | None, repository: Path) -> tuple[str, list[str]]:
    """Return where the lines are from, and at most the first ``AT_MOST`` of them that are not empty.

    ``given`` is the path of a file; without one it is the repository's ``git log``, without git its CHANGELOG.md.
    Raises ``OSError`` when the file cannot be read, ``ValueError`` when it has no line with anything on it.
    """
    source, text = (given, _read(Path(given))) if given else _own_text(repository)
    lines = [line.rstrip("\r") for line in text.split("\n")]
    taken = [line for line in lines if line.strip()][:AT_MOST]
    if not taken:
        raise ValueError(f"{source} has no line with anything on it; give another file by DEMO_INPUT")
    return source, taken


def _own_text(repository: Path) -> tuple[str, str]:
    command = ["git", "-C", str(repository), "--no-pager", "log", "--no-color"]
    try:
        log = subprocess.run(command, env=clean_environment(), capture_output=True, timeout=10, check=True)
        if log.stdout.strip():
            return "git log", log.stdout.decode("utf-8", errors="replace")
    except (OSError, subprocess.SubprocessError):
        pass  # no git, or no repository: a release's archive has the CHANGELOG
    return "CHANGELOG.md", _read(repository / "CHANGELOG.md")


def _read(file: Path) -> str:
    return file.read_text("utf-8", errors="replace")
