"""The wheels that others install, built from this clone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from project.demo.processes import clean_environment

ROOT = Path(__file__).resolve().parents[2]


def build_wheels(into: Path) -> Path:
    """Run scripts/build-wheels; the folder, with the wheels and source distributions in it."""
    done = subprocess.run(
        ["sh", "scripts/build-wheels", str(into)],
        cwd=ROOT,
        env=clean_environment(PYTHON=sys.executable),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return into
