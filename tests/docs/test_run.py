"""What README and docs show in Python runs, in a project as a reader has it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from project.demo.processes import clean_environment
from tests.architecture.sources import ROOT
from tests.docs.pages import blocks_of, page_names


def run(page: str, folder: Path) -> None:
    """Let a reader type the page in an empty folder. Fails with what went wrong, and where on the page."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.reader", page],
        cwd=folder,
        env=clean_environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{page}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"


def pages_with_python() -> list[str]:
    """Return the pages that show Python."""
    pages = [name for name in page_names() if "python" in (ROOT / name).read_text("utf-8")]  # parsing takes much longer
    return [name for name in pages if any(block.language == "python" for block in blocks_of(name))]


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with_python())
def test_a_pages_python_runs(page: str, tmp_path: Path) -> None:
    """Files that a page shows are written and imported, its other blocks run in their order, its tests pass."""
    run(page, tmp_path)
